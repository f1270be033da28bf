//! One line of a log: when, by whom, and what the kernel printed, without all that was put around it.
//!
//! Each layer has a form of its own and is known by it; they are taken off from the outside in until none is left. What
//! one line cannot tell, such as whether `3 ` is a line number, the stream tells: the line before had a 2. A prefix that
//! nobody knows is learnt from a line that shows one of the kernel's headlines behind it.

mod layer;
mod prefix;
mod time;
mod wrap;

use alloc::borrow::Cow;
use alloc::string::{String, ToString as _};

use crate::units::Nanos;
use layer::{Layer, Layers};
use prefix::Learnt;

/// Who printed a line: a task, a CPU or nobody that the log names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Writer(u64);

impl Writer {
    fn named(name: &str) -> Self {
        // FNV-1a: equal names are equal writers, and no name is kept.
        let words = name.bytes().filter(|c| *c != b' ');
        Self(
            words.fold(0xcbf2_9ce4_8422_2325, |hash, c| (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3)),
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'log> {
    pub ts: Option<Nanos>,
    pub writer: Writer,
    /// The CPU that the prefix names.
    pub cpu: Option<u32>,
    pub text: &'log str,
}

/// Takes the lines of one log apart.
#[derive(Debug, Default)]
pub(super) struct Reader {
    layers: Layers,
    /// The number that the last line began with.
    number: Option<u64>,
    learnt: Option<Learnt>,
    /// The first part of a line that quoted-printable broke.
    broken: Option<String>,
    /// The log is the journal's export, where each field has a line.
    is_export: bool,
}

impl Reader {
    /// The lines that a raw one holds, parted by `\n`; none where it goes on.
    pub(super) fn unwrap<'log>(&mut self, raw: &'log str) -> Option<Cow<'log, str>> {
        if let Some(part) = wrap::soft_broken(raw) {
            self.layers.add(Layer::QuotedPrintable);
            self.broken.get_or_insert_default().push_str(&part);
            return None;
        }
        match self.broken.take() {
            Some(part) => {
                let whole = [&part, raw.trim_end()].concat();
                Some(Cow::Owned(wrap::unwrap(&whole, &mut self.layers).into_owned()))
            }
            None => Some(wrap::unwrap(raw, &mut self.layers)),
        }
    }

    /// What was put around the lines, from the outside in.
    pub(super) fn form(&self) -> String {
        self.layers.to_string()
    }

    /// Absent where the line is none of the kernel's: a mark of a console server, a key of a record.
    pub(super) fn take_apart<'log>(&mut self, raw: &'log str) -> Option<Line<'log>> {
        let text = raw.trim_end_matches(|c: char| c.is_whitespace() || c == '\0').trim_end_matches("^M");
        let mut line = Line { ts: None, writer: Writer::default(), cpu: None, text: text.trim() };
        self.is_export |= line.text.starts_with("MESSAGE=") || line.text.starts_with("__CURSOR=");
        let is_field = self.is_export && !line.text.starts_with("MESSAGE=") && is_field(line.text);
        if is_field || line.text.starts_with("[-- ") || is_part(line.text).is_some() || is_key(text) {
            self.layers.add(Layer::Marks);
            return None;
        }
        let last = self.number.take();
        let mut clocked = false;
        for _ in 0..16 {
            let Some((layer, rest)) = self.layer(&mut line, last, clocked) else { break };
            clocked |= matches!(
                layer,
                Layer::Clock | Layer::Boot | Layer::Bracketed | Layer::Record | Layer::Logcat
            );
            self.layers.add(layer);
            line.text = rest.trim_start();
        }
        if line.ts.is_none() && !line.text.is_empty() {
            self.inner(&mut line);
        }
        line.text = line.text.trim();
        Some(line)
    }

    /// The outermost layer and what is inside it.
    fn layer<'log>(
        &mut self,
        line: &mut Line<'log>,
        last: Option<u64>,
        clocked: bool,
    ) -> Option<(Layer, &'log str)> {
        let text = line.text;
        let next = text.as_bytes().get(1).copied().unwrap_or_default();
        match *text.as_bytes().first()? {
            b'>' | b'|' => Some((Layer::Quoted, &text[1..])),
            b'+' => Some((Layer::Diff, &text[1..])),
            b'-' if next == b'[' => Some((Layer::Diff, &text[1..])),
            b'-' if next == b'(' => Some((Layer::Vendor, &text[1..])),
            b'#' if next == b' ' => Some((Layer::Marks, &text[2..])),
            b'#' if text.starts_with("##[") => Some((Layer::Stream, text.split_once(']')?.1)),
            b'<' => prefix::level(text),
            b'[' => bracket(line, clocked),
            b'(' => prefix::parenthesis(text).or_else(|| prefix::mediatek(line)),
            b'0'..=b'9' => prefix::record(line)
                .or_else(|| prefix::logcat(text))
                .or_else(|| time::after_clock(text).map(|rest| (Layer::Clock, rest)))
                .or_else(|| clocked.then(|| prefix::stream_mark(text)).flatten())
                .or_else(|| self.numbered(text, last).filter(|_| !clocked)),
            b'M' if text.starts_with("MESSAGE=") => Some((Layer::Tag, &text["MESSAGE=".len()..])),
            first => {
                if first == b'k'
                    && let Some(found) = prefix::facility(text)
                {
                    return Some(found);
                }
                if first.is_ascii_uppercase()
                    && let Some(rest) = time::after_clock(text)
                {
                    return Some((Layer::Clock, rest));
                }
                if clocked && let Some(found) = prefix::after_time(line) {
                    return Some(found);
                }
                prefix::tag(text, clocked).or_else(|| prefix::logcat_brief(text))
            }
        }
    }

    /// A line number: `     37 `, `37:`, `37|`.
    fn numbered<'log>(&mut self, text: &'log str, last: Option<u64>) -> Option<(Layer, &'log str)> {
        if self.number.is_some() {
            return None;
        }
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let number = number.parse::<u64>().ok()?;
        let mark = rest.chars().next().unwrap_or(' ');
        if !matches!(mark, ' ' | '\t' | ':' | '|' | '-') {
            return None;
        }
        let rest = rest.strip_prefix(mark).unwrap_or("");
        let inside = rest.trim_start();
        // Lines that a search left out are missing, and one that is the first shows what it is by what it holds.
        let goes_on = last.is_some_and(|last| number > last && number - last <= 64);
        let shows = inside.starts_with(['[', '<'])
            || inside.starts_with("====")
            || prefix::headline(inside) == Some(0);
        self.number = Some(number);
        (shows || (goes_on && mark != '-')).then_some((Layer::Numbers, rest))
    }

    /// What no form tells: a time somewhere in the line, or a prefix that was learnt.
    fn inner(&mut self, line: &mut Line<'_>) {
        if let Some((ts, rest)) = prefix::time_within(line.text) {
            self.layers.add(Layer::Boot);
            (line.ts, line.text) = (Some(ts), rest.trim_start());
            if let Some((layer, rest)) = bracket(line, true) {
                self.layers.add(layer);
                line.text = rest;
            }
            return;
        }
        if let Some(rest) = self.learnt.as_ref().and_then(|learnt| learnt.after(line.text)) {
            self.layers.add(Layer::Unknown);
            line.text = rest;
        } else if let Some(at) = prefix::headline(line.text).filter(|at| *at > 0)
            && let Some(learnt) = Learnt::new(&line.text[..at])
        {
            self.learnt = Some(learnt);
            self.layers.add(Layer::Unknown);
            line.text = &line.text[at..];
        }
    }
}

/// The crash and the part of its log that pstore begins with this line, `Oops#1 Part3`; the last part was printed first.
pub(super) fn is_part(text: &str) -> Option<(u32, u32)> {
    let (why, rest) = text.split_once('#')?;
    let (crash, part) = rest.split_once(" Part")?;
    let is_why = why.len() <= 10 && why.bytes().all(|c| c.is_ascii_alphabetic());
    if is_why { crash.parse().ok().zip(part.parse().ok()) } else { None }
}

/// ` SUBSYSTEM=cpu`, of a record of /dev/kmsg.
fn is_key(text: &str) -> bool {
    text.starts_with(' ') && ["SUBSYSTEM=", "DEVICE=", "PRINTK_"].iter().any(|key| text[1..].starts_with(key))
}

/// `_TRANSPORT=kernel`, of a record of the journal.
fn is_field(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_')
    })
}

/// A time, a caller or a vendor's mark in brackets.
fn bracket<'log>(line: &mut Line<'log>, clocked: bool) -> Option<(Layer, &'log str)> {
    let (inside, rest) = line.text.strip_prefix('[')?.split_once(']')?;
    if inside.len() > 64 {
        return None;
    }
    if time::is_time(inside) {
        if let Some((_, cpu)) = inside.split_once('@') {
            line.cpu = cpu.trim().parse().ok();
            line.writer = Writer::named(cpu);
        }
        if let Some(ts) = time::since_boot(inside) {
            line.ts = Some(ts);
            return Some((Layer::Boot, rest));
        }
        return Some((Layer::Bracketed, rest));
    }
    if is_caller(inside) {
        line.writer = Writer::named(inside);
        line.cpu = inside.trim().strip_prefix('C').and_then(|cpu| cpu.parse().ok()).or(line.cpu);
        return Some((Layer::Caller, rest));
    }
    if clocked && prefix::is_vendors(inside) {
        line.writer = Writer::named(inside);
        return Some((Layer::Vendor, rest));
    }
    None
}

/// `    T0`, `   C12`, `T12@C3`: CONFIG_PRINTK_CALLER.
fn is_caller(inside: &str) -> bool {
    let inside = inside.trim();
    let digits = inside.strip_prefix(['T', 'C']).unwrap_or("");
    let digits = digits.split_once("@C").map_or(digits, |(task, _)| task);
    !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(raw: &str) -> (Option<u64>, String) {
        let mut reader = Reader::default();
        let whole = reader.unwrap(raw).unwrap();
        let line = reader.take_apart(&whole).unwrap();
        (line.ts.map(|ts| ts.0), line.text.to_string())
    }

    const TEXT: &str = "RCU not on for: f+0x0/0x1";

    #[test]
    fn what_stands_around_a_line_with_printks_time_is_taken_off() {
        for before in [
            "[   42.628511] ",
            "<4>[   42.628511] ",
            "> > [   42.628511][    T0] ",
            "| [   42.628511] [  C12] ",
            "Nov 22 10:00:00 host kernel: [   42.628511] ",
            "Nov 22 10:00:00 host kernel[0]: [   42.628511] ",
            "2026-11-22T10:00:00.123Z [   42.628511] ",
            "2022-11-22T10:04:07.216 <4>[   42.628511] ",
            "2022-11-22T10:04:07.216403Z 01O [   42.628511] ",
            "2022-11-22T10:04:07.216403Z stdout F [   42.628511] ",
            "[2022-11-22T10:04:07.216Z] [   42.628511] ",
            "<4>1 2022-11-22T10:04:07.216403+00:00 host kernel - - - [   42.628511] ",
            "[   42.628511 <    0.000037>] ",
            "[   42.628511@6] ",
            "[   42.628511] host kernel: ",
            "<4>[   42.628511] (6)[0:swapper/6]",
            "<4>[   42.628511] -(6)[0:swapper/6]",
            "[   42.628511] [6:  swapper/6:    0] ",
            "[   42.628511] c6      0 ",
            "[   42.628511] C6 [      swapper/6] ",
            "<4>[   42.628511s][pid:0,cpu6,swapper/6]",
            "(XEN) (d1) [   42.628511] ",
            "4,1234,42628511,-;",
            "4,1234,42628511,-,caller=T0;",
            "6.1.0,4,1234,42628511,-;",
            "+[   42.628511] ",
            "-[   42.628511] ",
            "     37\t[   42.628511] ",
            "37:[   42.628511] ",
            "console.log:37:[   42.628511] ",
            "kern  :warn  : [   42.628511] ",
            "Nov 22 10:04:07 host kern.warn kernel: [   42.628511] ",
            "10:04:07.216403  <4>[   42.628511] ",
            "# [   42.628511] ",
            "Nov 22 10:04:07 10.0.0.1 [   42.628511] ",
        ] {
            let raw = [before, TEXT].concat();
            assert_eq!(clean(&raw), (Some(42_628_511_000), TEXT.to_string()), "{raw}");
        }
    }

    #[test]
    fn what_stands_around_a_line_without_one_is_taken_off_too() {
        for before in [
            "",
            "[Tue Nov 22 10:04:07 2022] ",
            "[  +0.000012] ",
            "[Nov22 10:04] ",
            "2022-11-22T10:04:07,216403+00:00 ",
            "kern  :warn  : [Tue Nov 22 10:04:07 2022] ",
            "Tue 2022-11-22 10:04:07 UTC host kernel: ",
            "2022-11-22T10:04:07+0000 host kernel: ",
            "1669111447.216403 host kernel: ",
            "Nov 22 10:04:07 host kernel[0]: ",
            "Nov 22 10:04:07 ",
            "host kernel: ",
            "kernel: ",
            "2022-11-22T10:04:07.2164031Z ",
            "11-22 10:04:07.216     0     0 W         : ",
            "11-22 10:04:07.216  root     0     0 W kernel  : ",
            "W/kernel  (    0): ",
            "MESSAGE=",
            "(XEN) ",
            "     37 ",
            "<4>",
            "<4>1 2022-11-22T10:04:07.216403+00:00 host kernel 0 - [x@1 a=\"b\"] ",
        ] {
            let raw = [before, TEXT].concat();
            assert_eq!(clean(&raw), (None, TEXT.to_string()), "{raw}");
        }
    }

    #[test]
    fn what_the_kernel_printed_is_left_alone() {
        for text in [
            "[c000000004653920] [c00000000097f9b4] f+0x98/0xe0",
            "[<ffffffff8105533b>] f+0xbc/0xc5",
            "([<00000000002b55bc>] f+0x24c/0x258)",
            "<TASK>",
            "<IRQ>  [<ffffffff8105533b>] f+0xbc/0xc5",
            "3 locks held by swapper/0/0:",
            "5.10.132 #1 Tainted: G        W",
            "------------[ cut here ]------------",
            "---[ end trace 0000000000000000 ]---",
            "-----------------------------",
            "3-....: (1 GPs behind) idle=f824/0/0x0",
            "#0: ffff (&p->lock){-.-.}, at: f+0x52/0x7a0",
            "[ INFO: suspicious RCU usage. ]",
            "Modules linked in: ppdev",
        ] {
            assert_eq!(clean(text), (None, text.to_string()));
        }
        assert_eq!(clean("[99999999999.5] x").0, None);
    }

    #[test]
    fn numbers_that_count_the_lines_are_known_by_the_line_before() {
        let mut reader = Reader::default();
        let texts = ["1 =====", "2 WARNING: suspicious", "3 3 locks held", "4", "5 =="]
            .map(|raw| reader.take_apart(raw).map(|line| line.text.to_string()).unwrap());
        assert_eq!(texts, ["=====", "WARNING: suspicious", "3 locks held", "", "=="]);
    }

    #[test]
    fn a_prefix_that_nobody_knows_is_learnt_from_a_headline_behind_it() {
        let mut reader = Reader::default();
        let mut text = |raw| reader.take_apart(raw).map(|line| line.text.to_string()).unwrap();
        assert_eq!(text("node-7 ttyS0 | RCU not on for: f+0x0/0x1"), "RCU not on for: f+0x0/0x1");
        assert_eq!(text("node-7 ttyS0 |  do_idle+0x1/0x2"), "do_idle+0x1/0x2");
        assert_eq!(text("node-12 ttyS0 | "), "");
        assert_eq!(
            text("somebody wrote \"WARNING: suspicious RCU usage\""),
            "somebody wrote \"WARNING: suspicious RCU usage\""
        );
    }

    #[test]
    fn lines_that_are_not_the_kernels_are_none() {
        for raw in
            ["[-- MARK -- Tue Nov 22 10:05:00 2022]", "Oops#1 Part1", "Panic#2 Part12", " SUBSYSTEM=cpu"]
        {
            assert_eq!(Reader::default().take_apart(raw), None, "{raw}");
        }
        assert_eq!(is_part("Oops#1 Part3"), Some((1, 3)));
    }

    #[test]
    fn writers_are_told_apart_by_their_ids_and_padding_is_none() {
        let writer = |raw| Reader::default().take_apart(raw).map(|line| line.writer).unwrap();
        assert_ne!(writer("[    7.1][    T1] a"), writer("[    7.1][    C1] a"));
        assert_eq!(writer("[    7.1][    T1] a"), writer("[    7.2] [T1] b"));
        assert_eq!(writer("4,1,7,-,caller=T1;a"), writer("[    7.1][    T1] a"));
    }
}
