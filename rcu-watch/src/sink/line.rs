//! A snapshot as a line of NDJSON, written straight into a buffer: with `--stream all` there is one a record.
//!
//! The same bytes as serde gives for the message; the test below holds it to that.

use std::io::{self, Write};

use rcu_watch_core::report::finding::VantageReport;
use rcu_watch_core::rules::Hit;
use rcu_watch_core::shown::is_plain;
use serde::Serialize as _;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// Appends the line of one record.
///
/// # Errors
/// None that a buffer in memory gives.
pub(super) fn snapshot(out: &mut Vec<u8>, seq: u64, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
    let snapshot = hit.snapshot;
    let rcu = &snapshot.rcu;
    number(out, b"{\"seq\":", seq);
    number(out, b",\"ts_ns\":\"", snapshot.ts.0);
    number(out, b"\",\"cpu\":", u64::from(snapshot.cpu.0));
    number(out, b",\"type\":\"snapshot\",\"data\":{\"probe\":", u64::from(snapshot.probe.0));
    name(out, b",\"point\":\"", hit.probe.point.name());
    out.extend_from_slice(b"\",\"symbol\":");
    text(out, hit.probe.symbol.as_bytes())?;
    hex(out, b",\"state\":{\"S\":\"", u64::from(rcu.state.0));
    hex(out, b"\",\"N\":\"", rcu.nesting.0.cast_unsigned());
    hex(out, b"\",\"M\":{\"raw\":\"", rcu.nmi_nesting.0.cast_unsigned());
    name(out, b"\",\"base\":\"", hit.base.name());
    out.extend_from_slice(if hit.depth < 0 { b"\",\"depth\":-" } else { b"\",\"depth\":" });
    number(out, b"", hit.depth.unsigned_abs());
    hex(out, b"},\"P\":\"", rcu.preempt_count.0);
    truth(out, b"\",\"watching\":", hit.watching);
    name(out, b",\"vantage\":\"", VantageReport::from(hit.vantage).name());
    truth(out, b"\",\"underlying_watching\":", hit.under_watching);
    if let Some(context) = hit.context {
        name(out, b",\"context\":\"", context.name());
        out.push(b'"');
    }
    truth(out, b",\"hardirq\":", hit.hardirq_depth > 0);
    truth(out, b",\"nmi\":", hit.nmi_depth > 0);
    number(out, b"},\"task\":{\"pid\":", u64::from(snapshot.task.pid));
    number(out, b",\"tgid\":", u64::from(snapshot.task.tgid));
    out.extend_from_slice(b",\"comm\":");
    text(out, snapshot.task.comm.split(|&byte| byte == 0).next().unwrap_or_default())?;
    truth(out, b",\"idle\":", snapshot.task.is_idle());
    out.push(b'}');
    if let Some(caller) = snapshot.caller {
        hex(out, b",\"caller\":\"", caller.0);
        out.push(b'"');
    }
    number(out, b",\"arg\":\"", snapshot.arg);
    number(out, b"\",\"cpu_seq\":\"", cpu_seq);
    out.extend_from_slice(b"\"}}\n");
    Ok(())
}

fn name(out: &mut Vec<u8>, before: &[u8], name: &str) {
    out.extend_from_slice(before);
    out.extend_from_slice(name.as_bytes());
}

fn truth(out: &mut Vec<u8>, before: &[u8], truth: bool) {
    name(out, before, if truth { "true" } else { "false" });
}

/// In decimal.
fn number(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// As `{:#x}`.
fn hex(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    let mut digits = [0; 18];
    let len = (64 - number.leading_zeros()).div_ceil(4).max(1) as usize;
    digits[..2].copy_from_slice(b"0x");
    for (at, digit) in digits[2..2 + len].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * at) & 15) as usize];
    }
    out.extend_from_slice(&digits[..2 + len]);
}

/// A JSON string.
fn text(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let is_plain = |&byte: &u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if bytes.iter().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return Ok(());
    }
    Ok(String::from_utf8_lossy(bytes).serialize(&mut serializer(out))?)
}

/// JSON as serde writes it, in which also such characters are written as `\u....` that a terminal would act on.
pub(super) fn serializer<W: Write>(out: W) -> Serializer<W, Harmless> {
    Serializer::with_formatter(out, Harmless)
}

/// How [`serializer`] writes texts.
pub(super) struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| !is_plain(c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcu_watch_core::model::generation::Generation;
    use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
    use rcu_watch_core::probe::{Mechanism, Point, Probe};
    use rcu_watch_core::report::{Envelope, Message, SnapshotReport};
    use rcu_watch_core::snapshot::{RcuState, Snapshot, Task};
    use rcu_watch_core::units::{Address, Counter, CpuId, Nanos, PreemptCount, StateWord};

    #[test]
    fn a_line_is_what_serde_makes_of_the_message() {
        let comms =
            [*b"swapper/0\0\0\0\0\0\0\0", *b"a\"b\\c\x01\xff\xc3\xa4\xc2\x9b\0\0\0\0\0", [b'x'; 16], [0; 16]];
        let words = [0, 1, 9, 10, 0x7f, 1 << 62, u64::MAX, 0xffff_ffff_8100_0000];
        let mut lines = 0;
        for (at, &word) in words.iter().enumerate() {
            for generation in Generation::ALL {
                for mechanism in [Mechanism::Fentry, Mechanism::Watchpoint, Mechanism::KprobeInt3] {
                    let kernel = KernelModel::new(generation, PreemptLayout::FOUR_BYTES);
                    let probe = Probe {
                        point: Point::ALL[at],
                        mechanism,
                        symbol: ["cpu_idle", "f.\"cold\"", "ü"][at % 3].to_owned(),
                        handlers: Vec::new(),
                        is_rcu_internal: false,
                        ftrace_validates_rcu: false,
                    };
                    let snapshot = Snapshot {
                        cpu: CpuId(word as u32),
                        ts: Nanos(word),
                        arg: word,
                        caller: (at % 2 == 0).then_some(Address(word)),
                        task: Task { pid: at as u32 % 2, tgid: word as u32, comm: comms[at % 4] },
                        rcu: RcuState {
                            state: StateWord(word as u32),
                            nesting: Counter(word.cast_signed()),
                            nmi_nesting: Counter(word.cast_signed()),
                            preempt_count: PreemptCount(word),
                        },
                        ..Snapshot::default()
                    };
                    let hit = Hit::new(&kernel, &probe, &snapshot);
                    let mut line = Vec::new();
                    super::snapshot(&mut line, word, &hit, word).unwrap();
                    let envelope = Envelope {
                        seq: word,
                        ts_ns: snapshot.ts,
                        cpu: Some(snapshot.cpu),
                        message: Message::Snapshot(Box::new(SnapshotReport::new(&hit, word))),
                    };
                    let line = String::from_utf8(line).unwrap();
                    let expected = serde_json::to_string(&envelope).unwrap() + "\n";
                    assert_eq!(line.replace("\\u009b", "\u{9b}"), expected);
                    assert!(line.trim_end().chars().all(is_plain));
                    lines += 1;
                }
            }
        }
        assert_eq!(lines, 8 * 7 * 3);
    }
}
