//! What reaches which output, and when the status line is wiped. The wording is held by tests/golden.

use rcu_watch_core::report::ProbeError;
use rcu_watch_core::units::Nanos;

use super::*;

fn at(seconds: u64) -> Heartbeat {
    Heartbeat { elapsed_ns: Nanos(seconds * 1_000_000_000), ..Heartbeat::default() }
}

fn probe_error() -> Envelope {
    let error = ProbeError { probe: None, symbol: "arch_cpu_idle".into(), error: "busy".into() };
    Envelope { seq: 1, ts_ns: Nanos(0), cpu: None, message: Message::ProbeError(error) }
}

fn text(look: Look) -> Text<Vec<u8>, Vec<u8>> {
    Text::new(Vec::new(), Vec::new(), look)
}

#[test]
fn on_a_terminal_the_status_is_redrawn_in_place_and_wiped_before_a_line() {
    let mut text = text(Look { screen: Some(20), ..Look::default() });
    text.status(&at(1)).unwrap();
    text.status(&at(2)).unwrap();
    text.message(&probe_error()).unwrap();
    let err = String::from_utf8(text.err).unwrap();
    assert_eq!(
        err,
        "\r\x1b[K00:01 ok  0 switche\r\x1b[K00:02 ok  0 switche\r\x1b[K[    0.000000] probe arch_cpu_idle: busy\n"
    );
}

#[test]
fn without_a_terminal_the_status_is_a_line_a_minute() {
    let mut text = text(Look::default());
    for seconds in [1, 59, 60, 61, 119, 125, 179, 180] {
        text.status(&at(seconds)).unwrap();
    }
    let err = String::from_utf8(text.err).unwrap();
    let times: Vec<_> = err.lines().map(|line| &line[..5]).collect();
    assert_eq!(times, ["01:00", "02:05", "03:00"]);
}

#[test]
fn what_is_about_the_run_goes_to_standard_error_and_into_a_report_file() {
    let mut plain = text(Look::default());
    plain.message(&probe_error()).unwrap();
    assert!(plain.out.is_empty() && !plain.err.is_empty());
    let mut file = text(Look { report_file: true, ..Look::default() });
    file.message(&probe_error()).unwrap();
    assert_eq!(file.out, file.err);
}
