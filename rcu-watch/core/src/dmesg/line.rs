//! One line of a log: when, and what the kernel printed, without all that was put around it.

use crate::units::Nanos;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'log> {
    pub ts: Option<Nanos>,
    pub text: &'log str,
}

impl<'log> Line<'log> {
    pub(super) fn new(raw: &'log str) -> Self {
        let mut text = raw.trim_end().trim_end_matches("^M").trim();
        // Quotes of mails and the `|` of reports.
        while let Some(rest) = text.strip_prefix(['>', '|']) {
            text = rest.trim_start();
        }
        text = without_level(text);
        match timestamp(text) {
            Some((ts, rest)) => Self { ts: Some(ts), text: without_caller(rest) },
            None => {
                Self { ts: None, text: text.split_once("kernel: ").map_or(text, |(_, rest)| rest.trim()) }
            }
        }
    }
}

/// `<4>`, from pstore and serial consoles.
fn without_level(text: &str) -> &str {
    text.strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .filter(|(level, _)| {
            !level.is_empty() && level.len() <= 3 && level.bytes().all(|c| c.is_ascii_digit())
        })
        .map_or(text, |(_, rest)| rest.trim_start())
}

/// `[   42.628511]`, wherever a syslog or a CI system let it stand.
fn timestamp(text: &str) -> Option<(Nanos, &str)> {
    text.match_indices('[').find_map(|(start, _)| {
        let (inside, rest) = text[start + 1..].split_once(']')?;
        let (seconds, fraction) = inside.trim().split_once('.')?;
        let digits =
            |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|c| c.is_ascii_digit());
        if !digits(seconds) || !digits(fraction) {
            return None;
        }
        let scale = 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
        let ns = seconds.parse::<u64>().ok()? * 1_000_000_000 + fraction.parse::<u64>().ok()? * scale;
        Some((Nanos(ns), rest.trim()))
    })
}

/// `[    T0]` or `[   C12]`: CONFIG_PRINTK_CALLER.
fn without_caller(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .filter(|(inside, _)| {
            let digits = inside.trim().strip_prefix(['T', 'C']).unwrap_or("");
            !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
        })
        .map_or(text, |(_, rest)| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(raw: &str) -> (Option<u64>, &str) {
        let line = Line::new(raw);
        (line.ts.map(|ts| ts.0), line.text)
    }

    #[test]
    fn what_was_put_around_a_line_is_taken_off() {
        let (ts, text) = (Some(42_628_511_000), "RCU not on for: f+0x0/0x1");
        for raw in [
            "[   42.628511] RCU not on for: f+0x0/0x1",
            "<4>[   42.628511] RCU not on for: f+0x0/0x1\r",
            "> > [   42.628511][    T0] RCU not on for: f+0x0/0x1^M",
            "| [   42.628511] [  C12] RCU not on for: f+0x0/0x1",
            "Nov 22 10:00:00 host kernel: [   42.628511] RCU not on for: f+0x0/0x1",
            "2026-11-22T10:00:00.123Z [   42.628511] RCU not on for: f+0x0/0x1",
        ] {
            assert_eq!(clean(raw), (ts, text), "{raw}");
        }
    }

    #[test]
    fn a_line_without_a_time_has_none() {
        assert_eq!(clean("Nov 22 10:00:00 host kernel: RCU used"), (None, "RCU used"));
        assert_eq!(clean("[c000000004653920] [c00000000097f9b4] f+0x98/0xe0"), {
            (None, "[c000000004653920] [c00000000097f9b4] f+0x98/0xe0")
        });
        assert_eq!(clean("[99999999999.5] x").0, None);
    }
}
