//! Times, in the forms in which kernels, daemons and build systems write them.

use crate::units::Nanos;

const WEEKDAYS: &[&str] = &["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: &[&str] = &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const ZONES: &[&str] = &[
    "UTC", "GMT", "Z", "CET", "CEST", "EET", "EEST", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT",
    "IST", "JST", "BST", "KST", "MSK",
];

/// Whether what stands in brackets is a time: `   42.628511`, `+0.000012`, `Nov22 10:04`, `42.6 <    0.1>`, `42.6@6`.
pub(super) fn is_time(inside: &str) -> bool {
    let mut digits = false;
    let mut parts = false;
    let mut rest = inside;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'0'..=b'9' => {
                digits = true;
                1
            }
            b'.' | b':' | b'+' => {
                parts = true;
                1
            }
            b' ' | b',' | b'-' | b'<' | b'>' | b'@' | b'/' | b'_' => 1,
            b'A'..=b'Z' | b'a'..=b'z' => {
                let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let word = &rest[..end];
                let known = [WEEKDAYS, MONTHS, ZONES].iter().any(|words| words.contains(&word));
                if !known && !matches!(word, "T" | "s" | "ms" | "us") {
                    return false;
                }
                end
            }
            _ => return false,
        };
        rest = &rest[length..];
    }
    digits && parts
}

/// The seconds since boot in such brackets, where that is what they have.
pub(super) fn since_boot(inside: &str) -> Option<Nanos> {
    let inside = inside.trim_start();
    let end = inside.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(inside.len());
    let tail = inside[end..].trim_start();
    if !(tail.is_empty() || tail.starts_with(['@', '<', '/', 's', ','])) {
        return None;
    }
    let (seconds, fraction) = inside[..end].split_once('.')?;
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|c| c.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let scale = 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    Some(Nanos(seconds.parse::<u64>().ok()? * 1_000_000_000 + fraction.parse::<u64>().ok()? * scale))
}

/// What stands behind the time of day that a line begins with: `Nov 22 10:04:07 `, `2022-11-22T10:04:07,216403+00:00 `,
/// `Tue 2022-11-22 10:04:07 UTC `, `1669111447.216403 `.
pub(super) fn after_clock(text: &str) -> Option<&str> {
    let mut rest = text;
    let (mut date, mut clock, mut month) = (false, false, false);
    loop {
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (token, tail) = rest.split_at(end);
        let token = token.trim_end_matches(',');
        let was_month = core::mem::take(&mut month);
        if !clock && WEEKDAYS.contains(&token) {
        } else if !clock && MONTHS.contains(&token) {
            month = true;
        } else if was_month && token.len() <= 2 && is_digits(token) {
            date = true;
        } else if date
            && token.len() == 4
            && is_digits(token)
            && (token.starts_with("19") || token.starts_with("20"))
        {
        } else if !date && !clock && is_date(token) {
            date = true;
        } else if !clock && (is_clock(token) || is_date_and_clock(token) || is_epoch(token)) {
            clock = true;
        } else if clock && (ZONES.contains(&token) || is_offset(token)) {
        } else {
            return clock.then_some(rest);
        }
        rest = tail.trim_start();
        if rest.is_empty() {
            return clock.then_some(rest);
        }
    }
}

/// The month and day with which logcat begins: `11-22 10:04:07.216`.
pub(super) fn after_logcat_clock(text: &str) -> Option<&str> {
    let (date, rest) = text.split_once(' ')?;
    let bytes = date.as_bytes();
    if bytes.len() != 5 || bytes[2] != b'-' || !is_digits(&date[..2]) || !is_digits(&date[3..]) {
        return None;
    }
    let (clock, rest) = rest.split_once(' ')?;
    is_clock(clock).then_some(rest)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

/// `2022-11-22` or `2022/11/22`
fn is_date(token: &str) -> bool {
    let bytes = token.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, c)| match at {
            4 | 7 => matches!(c, b'-' | b'/' | b'.'),
            _ => c.is_ascii_digit(),
        })
}

/// `10:04:07`, `10:04:07.216`, `10:04:07,216403+00:00`, `10:04:07.2164031Z`
fn is_clock(token: &str) -> bool {
    let bytes = token.as_bytes();
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return false;
    }
    let is_hms = [0, 1, 3, 4, 6, 7].iter().all(|at| bytes[*at].is_ascii_digit());
    if !is_hms || !token.is_char_boundary(8) {
        return false;
    }
    let rest = &token[8..];
    let rest = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    rest.is_empty() || rest == "Z" || rest == ":" || is_offset(rest)
}

fn is_offset(token: &str) -> bool {
    token.strip_prefix(['+', '-']).is_some_and(|digits| {
        matches!(digits.len(), 4 | 5) && digits.bytes().all(|c| c.is_ascii_digit() || c == b':')
    })
}

fn is_date_and_clock(token: &str) -> bool {
    token.len() > 11
        && token.is_char_boundary(10)
        && token.is_char_boundary(11)
        && is_date(&token[..10])
        && matches!(token.as_bytes()[10], b'T' | b'_' | b'-' | b':')
        && is_clock(&token[11..])
}

/// `1669111447.216403`
fn is_epoch(token: &str) -> bool {
    token.split_once('.').is_some_and(|(seconds, part)| {
        seconds.len() == 10 && is_digits(seconds) && part.len() >= 3 && is_digits(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_brackets_are_known_from_addresses_and_names() {
        for time in [
            "   42.628511",
            "  +0.000012",
            "Nov22 10:04",
            "Tue Nov 22 10:04:07 2022",
            "  247.216403 <    0.000037>",
            "<    0.000037>",
            "  247.216403@6",
            "  247.216403 / 11-22 10:04:07.216",
            "  247.216403s",
            "2022-11-22T10:04:07.216Z",
        ] {
            assert!(is_time(time), "{time}");
        }
        for other in
            ["c000000004653920", "000000000045bb20", "<80100108>", "    T0", "drm", "end trace 0", "klp", ""]
        {
            assert!(!is_time(other), "{other}");
        }
        assert_eq!(since_boot("   42.628511@6"), Some(Nanos(42_628_511_000)));
        assert_eq!(since_boot("99999999999.5"), None);
        assert_eq!(since_boot("10:04:07.5"), None);
    }

    #[test]
    fn a_time_of_day_is_taken_off_in_all_its_forms() {
        for time in [
            "Nov 22 10:04:07",
            "Nov  2 10:04:07.216",
            "Nov 22 10:04:07 2022",
            "Tue Nov 22 10:04:07 2022",
            "Tue 2022-11-22 10:04:07 UTC",
            "2022-11-22T10:04:07,216403+00:00",
            "2022-11-22T10:04:07.2164031Z",
            "2022-11-22T10:04:07+0000",
            "2022-11-22 10:04:07.216",
            "2022/11/22 10:04:07 +0100",
            "10:04:07.216403",
            "1669111447.216403",
        ] {
            let line = alloc::format!("{time} RCU used");
            assert_eq!(after_clock(&line), Some("RCU used"), "{time}");
        }
        for text in
            ["5.10.132 #1 Not tainted", "May be", "0000:00:1f.2: x", "3-....: (1 GPs", "00:11:22:33:44:55 up"]
        {
            assert_eq!(after_clock(text), None, "{text}");
        }
        assert_eq!(after_logcat_clock("11-22 10:04:07.216     0"), Some("    0"));
    }
}
