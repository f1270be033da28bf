//! What the values of options mean, and the errors that say what would have been right.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::Point;
use rcu_watch_core::rules::RULES;
use rcu_watch_core::units::CpuId;

use crate::kernel::cpu::{self, CpuListError};
use crate::kernel::plan::Requirement;

/// A part of a CPU's time: `1`, `0.5`, `2%`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err(format!("`{text}` is not above 0 and at most 100; write per cent of a CPU, as in 0.5")),
    }
}

/// CPUs in the kernel's list form: `0-3,8`. Sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<CpuId>);

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        cpu::parse(text).map(Self)
    }
}

/// `--require`: a probe point or a rule.
pub(crate) fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(&point) = Point::ALL.iter().find(|point| point.name() == text) {
        return Ok(Requirement::Point(point));
    }
    let known = rule_words().chain(Point::ALL.iter().map(|point| point.name()));
    RuleId::named(text)
        .map(Requirement::Rule)
        .ok_or_else(|| unknown("rule or probe point", text, known, "`rcu-watch probes` lists the points"))
}

/// A rule by id (`RW001`) or by name (`handler-unwatched`), in any case.
pub(crate) fn rule(text: &str) -> Result<RuleId, String> {
    RuleId::named(text).ok_or_else(|| {
        let (first, last) = (RULES[0].code, RULES[RULES.len() - 1].code);
        let remedy = format!("the rules are {first} to {last}; `rcu-watch explain` lists them");
        unknown("rule", text, rule_words(), &remedy)
    })
}

fn rule_words() -> impl Iterator<Item = &'static str> {
    RULES.iter().flat_map(|rule| [rule.code, rule.name])
}

/// The word that is spelt most like what was typed, if any is.
pub(super) fn nearest<Word: AsRef<str>>(typed: &str, known: impl Iterator<Item = Word>) -> Option<Word> {
    let typed = typed.to_ascii_lowercase();
    known
        .map(|word| (strsim::jaro_winkler(&typed, &word.as_ref().to_ascii_lowercase()), word))
        .filter(|&(likeness, _)| likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

fn unknown(what: &str, text: &str, known: impl Iterator<Item = &'static str>, remedy: &str) -> String {
    match nearest(text, known) {
        Some(word) => format!("no {what} is called `{text}`; did you mean {word}?"),
        None => format!("no {what} is called `{text}`; {remedy}"),
    }
}

/// Longer than anybody watches, and far from where a clock's sum would overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// `30s`, `5m`, `500ms`, `1h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 30s, 5m, 500ms, 1h or a number of seconds");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(duration) if duration.is_zero() => {
            Err("a run of no length sees nothing; give at least 1ms".to_owned())
        }
        Ok(duration) if duration > DURATION_MAX => {
            Err(format!("`{text}` is more than ten years; give less, or leave it out"))
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err(wrong()),
    }
}

/// Where to serve metrics: `9095`, `:9095` (the loopback device), `0.0.0.0:9095`, `[::1]:9095`.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    match port.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{text}` is no address; write a port, as in 9095, or ADDRESS:PORT")),
    }
}

/// The ring buffer's size: `256K`, `1M` or bytes. The kernel takes powers of two that are whole pages.
pub(crate) fn ring_bytes(text: &str) -> Result<u32, String> {
    const PAGE: u32 = 4096;
    let (number, unit) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bytes = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is not a size; write bytes, 256K or 1M"))?;
    if bytes < PAGE || !bytes.is_power_of_two() {
        return Err(format!("{bytes} bytes is no ring; give a power of two from {PAGE} on, as in 256K"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_the_field() {
        let ms = |text| duration(text).unwrap().as_millis();
        assert_eq!(
            [ms("30s"), ms("5m"), ms("500ms"), ms("1h"), ms("2"), ms("0.5s")],
            [30_000, 300_000, 500, 3_600_000, 2_000, 500]
        );
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        for text in ["", "s", "5x", "-1", "0", "0ms", "1.2.3", "1e9999h", "99999999999999999999h", "inf"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["10000000000000000000", "400000000", "100000h"] {
            assert!(duration(text).unwrap_err().contains("more than ten years"), "{text}");
        }
        assert!(std::time::Instant::now().checked_add(duration("87600h").unwrap()).is_some());
    }

    #[test]
    fn cpu_lists_are_the_kernels() {
        let list = |text: &str| {
            text.parse::<CpuList>().map(|list| list.0.iter().map(|cpu| cpu.0).collect::<Vec<_>>())
        };
        assert_eq!(list("0-3,8"), Ok(vec![0, 1, 2, 3, 8]));
        assert_eq!(list("8,1,1-2"), Ok(vec![1, 2, 8]));
        for text in ["", "a", "1-", "3-1", "0-4000000000", "1,,2"] {
            assert!(list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_goes_by_id_and_by_name() {
        assert_eq!(rule("rw001"), Ok(RuleId::HandlerUnwatched));
        assert_eq!(rule("exposed-function"), Ok(RuleId::ExposedFunction));
        assert!(rule("exposed-functoin").unwrap_err().contains("did you mean exposed-function?"));
        assert!(rule("zzz").unwrap_err().contains("RW001 to RW020"));
        for row in RULES {
            assert_eq!((rule(row.code), rule(row.name)), (Ok(row.id), Ok(row.id)));
        }
    }

    #[test]
    fn a_requirement_is_a_rule_or_a_point() {
        assert_eq!(requirement("RW006"), Ok(Requirement::Rule(RuleId::NestingImbalance)));
        assert_eq!(requirement("nmi_enter"), Ok(Requirement::Point(Point::NmiEnter)));
        assert!(requirement("nmi_entr").unwrap_err().contains("did you mean nmi_enter?"));
    }

    #[test]
    fn metrics_are_served_on_the_loopback_device_unless_told_otherwise() {
        let at = |text| listen(text).map(|address| address.to_string());
        assert_eq!(at("9095").as_deref(), Ok("127.0.0.1:9095"));
        assert_eq!(at(":9095").as_deref(), Ok("127.0.0.1:9095"));
        assert_eq!(at("0.0.0.0:1").as_deref(), Ok("0.0.0.0:1"));
        assert!(at("everywhere").unwrap_err().contains("write a port"));
    }

    #[test]
    fn an_overhead_is_a_part_of_a_cpu() {
        assert_eq!(percent("1"), Ok(1.0));
        assert_eq!(percent("0.05%"), Ok(0.05));
        assert_eq!(percent("100 %"), Ok(100.0));
        for text in ["", "0", "-1", "101", "NaN", "inf", "much"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ring_is_a_power_of_two_of_whole_pages() {
        assert_eq!(ring_bytes("256K"), Ok(1 << 18));
        assert_eq!(ring_bytes("4096"), Ok(4096));
        assert_eq!(ring_bytes("1m"), Ok(1 << 20));
        for text in ["", "K", "2048", "5000", "0", "9999999M", "1G", "-4096"] {
            assert!(ring_bytes(text).is_err(), "{text}");
        }
    }
}
