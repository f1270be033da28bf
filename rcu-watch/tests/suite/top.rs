//! The screen of `top`, as text: what a viewer sees of a run, live and replayed.

use std::sync::atomic::Ordering;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rcu_watch::sink::Sink as _;
use rcu_watch::top::sink::Shared;
use rcu_watch::top::view::Panel;
use rcu_watch::top::{Picture, View, draw, replay};
use rcu_watch_core::model::generation::Base;
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::finding::{Holder, NmiNestingReport, StateReport, TaskReport};
use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::report::{Envelope, GracePeriod, Heartbeat, Message, SnapshotReport};
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::{CpuId, Nanos, WideNumber};

use crate::paper::assert_golden;
use crate::sample;

/// Milliseconds after the sample's start.
const fn at(ms: u64) -> Nanos {
    Nanos(41_000_000_000 + ms * 1_000_000)
}

/// CPU 0 is busy, CPU 1 idles: out of it half of each tenth of a second, and later for an NMI.
fn records() -> Vec<(u64, u32, Point)> {
    let mut records = vec![(0, 0, Point::Checkpoint), (0, 1, Point::Checkpoint)];
    for tenth in 0..20 {
        records.push((tenth * 100 + 10, 1, Point::EqsEnter));
        if tenth < 10 {
            records.push((tenth * 100 + 60, 1, Point::EqsExit));
        }
        if tenth == 15 {
            records.push((tenth * 100 + 20, 1, Point::NmiEnter));
        }
    }
    records.push((2000, 0, Point::Checkpoint));
    records
}

fn envelopes() -> Vec<Envelope> {
    let beat = |ms: u64, calls| Heartbeat {
        elapsed_ns: Nanos(ms * 1_000_000),
        checkpoints: calls,
        idle_entries: calls / 2,
        findings: if ms > 1000 { 1312 } else { 1 },
        nmis: u64::from(ms > 1000),
        ..sample::heartbeat()
    };
    let said = vec![
        (0, None, Message::Header(Box::new(sample::header("watch")))),
        (500, Some(1), Message::Finding(Box::new(sample::finding()))),
        (1000, None, Message::Heartbeat(beat(1000, 400))),
        (2000, None, Message::Repeat(repeat())),
        (2000, None, Message::Heartbeat(beat(2000, 1000))),
    ];
    said.into_iter()
        .map(|(ms, cpu, message)| Envelope { seq: 0, ts_ns: at(ms), cpu: cpu.map(CpuId), message })
        .collect()
}

fn repeat() -> rcu_watch_core::report::Repeat {
    rcu_watch_core::report::Repeat {
        id: 1,
        rule: rcu_watch_core::RuleId::HandlerUnwatched,
        function: "arch_cpu_idle".into(),
        count: 1311,
        last_ts_ns: at(1990),
    }
}

/// A record of the idle task.
fn seen(ms: u64, cpu: u32, point: Point) -> Seen<'static> {
    Seen {
        ts: at(ms),
        cpu: CpuId(cpu),
        point,
        symbol: "",
        watching: true,
        hardirq: false,
        nmi: false,
        pid: 0,
        arg: 1,
    }
}

fn live() -> Picture {
    let mut picture = Picture::default();
    let mut envelopes = envelopes().into_iter().peekable();
    for (ms, cpu, point) in records() {
        while let Some(envelope) = envelopes.next_if(|envelope| envelope.ts_ns <= at(ms)) {
            feed(&mut picture, &envelope);
        }
        picture.observe(&Seen { pid: cpu ^ 1, ..seen(ms, cpu, point) });
    }
    envelopes.for_each(|envelope| feed(&mut picture, &envelope));
    picture
}

fn feed(picture: &mut Picture, envelope: &Envelope) {
    picture.message(envelope);
    if let Message::Heartbeat(beat) = &envelope.message {
        picture.status(envelope.ts_ns, beat);
    }
}

fn screen(picture: &Picture, view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is only memory");
    let mut picture = picture.clone();
    picture.settle();
    terminal.draw(|frame| draw(frame, &picture, view)).expect("it is only memory");
    let buffer = terminal.backend().buffer().clone();
    let row =
        |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(row).collect()
}

#[test]
fn a_busy_and_an_idle_cpu_with_a_break() {
    let mut view = View::default();
    assert_golden("top.txt", &screen(&live(), &view, 100, 16));
    view.ascii = true;
    view.panel = Panel::Guards;
    assert_golden("top-ascii.txt", &screen(&live(), &view, 80, 16));
}

#[test]
fn a_status_ahead_of_the_records_does_not_overwrite_them() {
    let mut picture = Picture::default();
    picture.observe(&seen(0, 0, Point::Checkpoint));
    // The run's clock is ahead of what was taken from the ring.
    picture.status(at(900), &sample::heartbeat());
    picture.observe(&seen(100, 0, Point::EqsEnter));
    picture.observe(&seen(1000, 1, Point::Checkpoint));
    picture.settle();
    let share = picture.cpus[&CpuId(0)].columns(10, 10).iter().map(|bucket| bucket.eqs_ns).sum::<u64>();
    assert_eq!(share, 900_000_000);
}

#[test]
fn a_grace_period_that_lasts_is_on_the_screen_until_it_is_over() {
    let holder = Holder { cpu: Some(CpuId(1)), ..Holder::default() };
    let period = |over| GracePeriod {
        flavour: Flavour::Expedited,
        seq: WideNumber(9),
        age_ns: Nanos(12_300_000_000),
        warns_at_ns: None,
        over,
        waited_for: vec![holder.clone()],
    };
    let mut picture = live();
    let mut say = |over| {
        let message = Message::GracePeriod(Box::new(period(over)));
        picture.message(&Envelope { seq: 0, ts_ns: at(2000), cpu: None, message });
        screen(&picture, &View::default(), 100, 16).contains("rcu expedited grace period 12 s: cpu 1")
    };
    assert!(say(false));
    assert!(!say(true));
}

#[test]
fn it_draws_on_any_size_of_screen() {
    let picture = live();
    for panel in Panel::ALL {
        let mut view = View::default();
        view.panel = *panel;
        for (width, height) in [(1, 1), (10, 3), (22, 7), (300, 100)] {
            screen(&picture, &view, width, height);
        }
    }
}

#[test]
fn a_replayed_stream_gives_the_live_picture() {
    let snapshot = |(ms, cpu, point): (u64, u32, Point)| {
        let report = SnapshotReport {
            probe: rcu_watch_core::units::ProbeId(0),
            point,
            symbol: String::new(),
            state: StateReport {
                watching: true,
                underlying_watching: true,
                nmi_nesting: NmiNestingReport { base: Base::Kernel, ..sample::state().nmi_nesting },
                ..sample::state()
            },
            task: TaskReport { pid: cpu ^ 1, tgid: cpu ^ 1, comm: "x".into(), idle: false },
            caller: None,
            arg: WideNumber(1),
            cpu_seq: WideNumber(0),
        };
        Envelope {
            seq: 0,
            ts_ns: at(ms),
            cpu: Some(CpuId(cpu)),
            message: Message::Snapshot(Box::new(report)),
        }
    };
    let mut all = envelopes();
    all.extend(records().into_iter().map(snapshot));
    all.sort_by_key(|envelope| envelope.ts_ns);
    let mut replayed = Picture::default();
    let mut counter = replay::Counter::default();
    for envelope in all {
        let line = serde_json::to_string(&envelope).expect("it is JSON");
        let envelope = Envelope::read(&line).expect("it is a line of a stream").expect("of a known type");
        replay::take(&mut replayed, &mut counter, &envelope);
    }
    let view = View::default();
    let below_title = |picture: &Picture| {
        let screen = screen(picture, &view, 100, 16);
        screen.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(below_title(&replayed), below_title(&live()));
}

#[test]
fn a_recording_feeds_the_picture_until_the_viewer_quits() {
    let shared = Shared::default();
    let mut paced = replay::Paced::new(shared.clone());
    let mut said = envelopes().into_iter();
    let header = Message::Header(Box::new(sample::header("replay")));
    let header = Envelope { message: header, ..said.next().expect("the header") };
    paced.message(&header).expect("the viewer is there");
    paced.message(&said.next().expect("a finding")).expect("the viewer is there");
    assert_eq!(shared.with(|picture| picture.findings.len()), 1);
    assert!(shared.with(|picture| picture.title.ends_with(", replayed")));
    let again = Seen {
        ts: at(600),
        cpu: CpuId(1),
        point: Point::PatchedFunction,
        symbol: "arch_cpu_idle",
        watching: false,
        hardirq: false,
        nmi: false,
        pid: 0,
        arg: 0,
    };
    paced.again(rcu_watch_core::RuleId::HandlerUnwatched, &again).expect("the viewer is there");
    assert_eq!(shared.with(|picture| picture.findings[0].count), 2);
    shared.quit.store(true, Ordering::Relaxed);
    let error = paced.message(&said.next().expect("a heartbeat")).expect_err("the viewer left");
    assert_eq!(error.to_string(), "the viewer has quit");
}

#[test]
fn what_is_no_stream_is_an_error_and_a_stream_that_was_cut_is_shown_as_such() {
    let played = |text: &[u8]| {
        let shared = Shared::default();
        replay::play(text, &shared).map(|()| shared.with(|picture| picture.ended.clone()))
    };
    for text in [&b"{}\n"[..], b"{\"a\":1}", b"not json\n", b"\xff\xfe\n"] {
        let error = played(text).expect_err("it is no stream").to_string();
        assert!(error.starts_with("line 1 is no line of a stream; "), "{error}");
    }
    let header = envelopes().remove(0);
    let line = serde_json::to_vec(&header).expect("it is JSON");
    let whole = [&line[..], b"\n"].concat();
    let cut = [&whole[..], &line[..20]].concat();
    assert_eq!(played(&cut).expect("it is a stream").as_deref(), Some("cut short"));
    let broken = [&whole[..], b"garbage\n"].concat();
    assert!(played(&broken).expect_err("it is none any more").to_string().starts_with("line 2"));
}

/// The binary on a terminal of its own, playing a recording again, once the screen is taken.
fn on_a_terminal() -> (std::process::Child, std::fs::File, nix::sys::termios::Termios) {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    let pty = nix::pty::openpty(None, None).expect("there are terminals");
    let before = nix::sys::termios::tcgetattr(&pty.slave).expect("it is a terminal");
    let copy = || Stdio::from(pty.slave.try_clone().expect("there are descriptors"));
    // Under nohup, as in many a CI, SIGHUP is ignored, and rcu-watch keeps to that.
    let child = Command::new("env")
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_rcu-watch")])
        .args(["top", "--replay", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/6.1.rec")])
        .env("TERM", "xterm")
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .expect("the binary runs");
    let mut master = std::fs::File::from(pty.master);
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    while !contains(&seen, b"\x1b[?1049h") {
        let read = master.read(&mut bytes).expect("the terminal is open");
        seen.extend_from_slice(&bytes[..read]);
    }
    (child, master, before)
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_terminal_comes_back_whatever_signal_ends_it() {
    use std::io::Read as _;

    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::tcgetattr;
    use nix::unistd::Pid;

    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let (mut child, mut master, before) = on_a_terminal();
        kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = master.read(&mut bytes) {
            seen.extend_from_slice(&bytes[..read]);
        }
        assert!(contains(&seen, b"\x1b[?1049l") && contains(&seen, b"\x1b[?25h"), "{signal}");
        assert!(child.wait().expect("it is ours").code().is_some(), "{signal}");
        let after = tcgetattr(&master).expect("it is a terminal");
        assert_eq!(after.local_flags, before.local_flags, "{signal}");
    }
}
