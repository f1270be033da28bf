//! CPU lists as the kernel writes and people type them: `0-3,8`.

use rcu_watch_core::units::CpuId;
use thiserror::Error;

/// More than any kernel has: what keeps `0-4000000000` from filling the memory.
const CPU_LIMIT: u32 = 1 << 16;

/// Why a text is no list of CPUs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CpuListError {
    #[error("`{0}` is not a CPU; write numbers and ranges, as in 0-3,8")]
    NotACpu(String),
    #[error("the range {first}-{last} runs backwards; write {last}-{first}")]
    Backwards { first: u32, last: u32 },
}

/// Parses `0-3,8`: sorted, each CPU once.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<CpuId>, CpuListError> {
    let number = |part: &str| match part.parse() {
        Ok(cpu) if cpu < CPU_LIMIT => Ok(cpu),
        _ => Err(CpuListError::NotACpu(part.to_owned())),
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(CpuListError::Backwards { first, last });
        }
        cpus.extend((first..=last).map(CpuId));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// The CPUs of a line of a kernel's file. None for what is no list, such as the `(null)` that some kernels have in
/// `nohz_full`.
#[must_use]
pub(crate) fn of_line(line: &str) -> Vec<CpuId> {
    parse(line.trim()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ranges_are_cpus_in_order() {
        assert_eq!(parse("8,0-2"), Ok([0, 1, 2, 8].map(CpuId).to_vec()));
        assert_eq!(of_line("8,0-2\n"), [0, 1, 2, 8].map(CpuId));
        assert_eq!(of_line("0"), [CpuId(0)]);
    }

    #[test]
    fn what_is_no_list_has_no_cpus() {
        assert_eq!(of_line("(null)"), []);
        assert_eq!(of_line(""), []);
        assert_eq!(parse("3-1"), Err(CpuListError::Backwards { first: 3, last: 1 }));
        assert_eq!(parse("0-99999999"), Err(CpuListError::NotACpu("99999999".to_owned())));
    }
}
