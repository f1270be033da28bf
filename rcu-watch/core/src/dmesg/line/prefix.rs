//! Prefixes that are not times: levels, tags of daemons, records, vendors' marks, and those that must be learnt.

use alloc::string::String;
use alloc::vec::Vec;

use super::layer::Layer;
use super::{Line, Writer, time};
use crate::units::Nanos;

type Found<'log> = Option<(Layer, &'log str)>;

/// `<4>`, or `<4>1 TIME HOST APP PROCID MSGID DATA ` of RFC 5424.
pub(super) fn level(text: &str) -> Found<'_> {
    let (level, rest) = text.strip_prefix('<')?.split_once('>')?;
    if level.is_empty() || level.len() > 3 || !level.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    rfc5424(rest).map(|rest| (Layer::Rfc5424, rest)).or(Some((Layer::Level, rest)))
}

fn rfc5424(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix("1 ")?;
    let (first, _) = rest.split_once(' ')?;
    if first != "-" && time::after_clock(rest).is_none() {
        return None;
    }
    for _ in 0..5 {
        rest = rest.split_once(' ')?.1;
    }
    let rest = match rest.strip_prefix('[') {
        Some(data) => data.split_once("] ").map_or("", |(_, rest)| rest),
        None => rest.strip_prefix('-')?,
    };
    Some(rest.trim_start().trim_start_matches('\u{feff}'))
}

/// `(XEN) `, `(d1) `, `(DOM0) `
pub(super) fn parenthesis(text: &str) -> Found<'_> {
    let (inside, rest) = text.strip_prefix('(')?.split_once(')')?;
    let number = |name: &str| {
        inside.strip_prefix(name).is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
    };
    (inside == "XEN" || number("d") || number("DOM")).then_some((Layer::Xen, rest))
}

/// MediaTek's `(6)[0:swapper/6]`: the CPU, and the task.
pub(super) fn mediatek<'log>(line: &mut Line<'log>) -> Found<'log> {
    let (cpu, rest) = line.text.strip_prefix('(')?.split_once(')')?;
    let cpu = cpu.parse().ok()?;
    let (task, rest) = rest.strip_prefix('[')?.split_once(']')?;
    line.cpu = Some(cpu);
    line.writer = Writer::named(task);
    Some((Layer::Vendor, rest))
}

/// `4,1234,42628511,-,caller=T1;text`, and netconsole's with a release before it.
pub(super) fn record<'log>(line: &mut Line<'log>) -> Found<'log> {
    let (fields, text) = line.text.split_once(';')?;
    if fields.len() > 160 || fields.contains(' ') {
        return None;
    }
    let mut fields = fields.split(',');
    let mut first = fields.next()?;
    if first.contains('.') {
        first = fields.next()?;
    }
    first.parse::<u32>().ok()?;
    fields.next()?.parse::<u64>().ok()?;
    let micros: u64 = fields.next()?.parse().ok()?;
    line.ts = Some(Nanos(micros.saturating_mul(1000)));
    if let Some(caller) = fields.find_map(|field| field.strip_prefix("caller=")) {
        line.writer = Writer::named(caller);
        line.cpu = caller.strip_prefix('C').and_then(|cpu| cpu.parse().ok());
    }
    Some((Layer::Record, text))
}

/// `11-22 10:04:07.216     0     0 W TAG     : text`
pub(super) fn logcat(text: &str) -> Found<'_> {
    let rest = time::after_logcat_clock(text)?;
    let (head, rest) = rest.split_once(": ").or_else(|| rest.strip_suffix(':').map(|head| (head, "")))?;
    let is_level = |word: &str| matches!(word, "V" | "D" | "I" | "W" | "E" | "F" | "S");
    let is_brief = |word: &str| word.as_bytes().get(1) == Some(&b'/');
    head.split_whitespace()
        .take(5)
        .any(|word| is_level(word) || is_brief(word))
        .then_some((Layer::Logcat, rest))
}

/// `W/kernel  (    0): text`
pub(super) fn logcat_brief(text: &str) -> Found<'_> {
    let bytes = text.as_bytes();
    if bytes.get(1) != Some(&b'/') || !b"VDIWEFS".contains(bytes.first()?) {
        return None;
    }
    let (head, rest) = text.split_once("): ")?;
    (head.len() <= 40 && head.contains('(')).then_some((Layer::Logcat, rest))
}

/// GitLab's `01O `, `00E+`.
pub(super) fn stream_mark(text: &str) -> Found<'_> {
    let bytes = text.as_bytes();
    let is_mark =
        bytes.len() >= 3 && bytes[..2].iter().all(u8::is_ascii_digit) && matches!(bytes[2], b'O' | b'E');
    if !is_mark {
        return None;
    }
    let rest = &text[3..];
    let rest = rest.strip_prefix('+').unwrap_or(rest);
    (rest.is_empty() || rest.starts_with(' ')).then_some((Layer::Stream, rest))
}

/// `kern  :warn  : ` of `dmesg -x`, `kern.warn ` of some syslogs.
pub(super) fn facility(text: &str) -> Found<'_> {
    let rest = text.strip_prefix("kern")?;
    const LEVELS: &[&str] =
        &["emerg", "alert", "crit", "err", "error", "warn", "warning", "notice", "info", "debug"];
    let of = |level: &str| LEVELS.contains(&level.trim());
    if let Some(rest) = rest.trim_start().strip_prefix(':') {
        let (level, rest) = rest.split_once(':')?;
        return of(level).then_some((Layer::Level, rest));
    }
    let (level, rest) = rest.strip_prefix('.')?.split_once([' ', ':'])?;
    of(level).then_some((Layer::Level, rest))
}

/// `host kernel: `, `host kernel[0]: `, `kernel: `: what stands behind the tag. Where a time stood before it, more words
/// than the host may.
pub(super) fn tag(text: &str, clocked: bool) -> Found<'_> {
    let mut rest = text;
    for _ in 0..if clocked { 4 } else { 2 } {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if let Some(after) = word.strip_prefix("kernel") {
            let pid = after.strip_prefix('[').and_then(|pid| pid.strip_suffix("]:"));
            let is_tag = after == ":" || pid.is_some_and(|pid| pid.bytes().all(|c| c.is_ascii_digit()));
            if is_tag {
                return Some((Layer::Tag, tail));
            }
        }
        if word.ends_with(':') && !clocked {
            return None;
        }
        rest = tail.trim_start();
    }
    None
}

/// What follows a time only: `stdout F `, `c6      0 `, `C6 [ swapper/6] `.
pub(super) fn after_time<'log>(line: &mut Line<'log>) -> Found<'log> {
    let (first, rest) = line.text.split_once(' ')?;
    if matches!(first, "stdout" | "stderr") {
        let rest = rest.strip_prefix(['F', 'P']).unwrap_or(rest);
        return Some((Layer::Stream, rest));
    }
    let cpu = first.strip_prefix(['c', 'C'])?;
    let cpu: u32 = cpu.parse().ok().filter(|_| cpu.len() <= 3)?;
    line.cpu = Some(cpu);
    let rest = rest.trim_start();
    let task = match rest.strip_prefix('[') {
        Some(task) => task.split_once(']'),
        None => rest.split_once(' ').filter(|(pid, _)| pid.bytes().all(|c| c.is_ascii_digit())),
    };
    let (task, rest) = task.unwrap_or(("", rest));
    line.writer = Writer::named(if task.is_empty() { first } else { task });
    Some((Layer::Vendor, rest))
}

/// Samsung's `6:  swapper/6:    0`, Huawei's `pid:0,cpu6,swapper/6`, a CPU alone; behind a time only.
pub(super) fn is_vendors(inside: &str) -> bool {
    let inside = inside.trim();
    let is_number =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|c| c.is_ascii_digit());
    is_number(inside)
        || inside.strip_prefix(['c', 'C', 'P']).is_some_and(is_number)
        || inside.starts_with("pid:")
        || inside
            .split_once(':')
            .is_some_and(|(cpu, _)| !cpu.is_empty() && cpu.bytes().all(|c| c.is_ascii_digit()))
}

/// printk's time where a daemon or a build system let it stand, and what is behind it.
pub(super) fn time_within(text: &str) -> Option<(Nanos, &str)> {
    text.match_indices('[').take(6).find_map(|(start, _)| {
        let (inside, rest) = text[start + 1..].split_once(']')?;
        let fraction = inside.split_once('.')?.1;
        (fraction.len() >= 3).then_some(())?;
        Some((time::since_boot(inside)?, rest))
    })
}

/// How the kernel's complaints of this class begin.
const HEADLINES: &[&str] = &[
    "RCU not on for: ",
    "WARNING: suspicious RCU usage",
    "INFO: suspicious RCU usage",
    "RCU used illegally from ",
    "RCU not watching for tracepoint",
    "WARNING: CPU: ",
    "WARNING: at kernel/rcu",
    "rcu: INFO: ",
    "INFO: rcu_",
    "------------[ cut here ]------------",
];

/// Where in the line one of the kernel's headlines stands.
pub(super) fn headline(text: &str) -> Option<usize> {
    if !text.contains("RCU")
        && !text.contains("rcu")
        && !text.contains("WARNING: ")
        && !text.contains("[ cut here")
    {
        return None;
    }
    HEADLINES.iter().filter_map(|headline| text.find(headline)).min()
}

/// A prefix that was seen before a headline: the shapes of its words, in which `7` and `4711` are alike.
#[derive(Debug)]
pub(super) struct Learnt(Vec<String>);

impl Learnt {
    /// Absent where it is prose: a prefix ends with a mark, and something in it counts.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let ends = prefix.trim_end().chars().next_back()?;
        let is_prefix = prefix.len() <= 120
            && prefix.contains(|c: char| c.is_ascii_digit())
            && (prefix.ends_with(' ') || prefix.ends_with('\t'))
            && !matches!(ends, '"' | '\'' | '`' | '(' | '=' | ',');
        let words: Vec<String> = prefix.split_whitespace().map(shape).collect();
        (is_prefix && words.len() <= 8).then_some(Self(words))
    }

    /// What stands behind such a prefix.
    pub(super) fn after<'log>(&self, text: &'log str) -> Option<&'log str> {
        let mut rest = text;
        for expected in &self.0 {
            rest = rest.trim_start();
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            if word.is_empty() || shape(word) != *expected {
                return None;
            }
            rest = tail;
        }
        Some(rest.trim_start())
    }
}

fn shape(word: &str) -> String {
    let mut shape = String::new();
    for c in word.chars() {
        let class = match c {
            '0'..='9' => '9',
            c if c.is_alphabetic() => 'a',
            c => c,
        };
        if !shape.ends_with(class) {
            shape.push(class);
        }
    }
    shape
}
