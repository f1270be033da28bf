//! CPU lists as the kernel writes and people type them: `0-3,8`.

use rcu_watch_core::units::CpuId;

/// Parses `0-3,8`. Empty for text that is none, such as the `(null)` that some kernels have in `nohz_full`.
#[must_use]
pub fn parse_list(text: &str) -> Vec<CpuId> {
    try_parse_list(text).unwrap_or_default()
}

/// Parses `0-3,8`, or says no.
#[must_use]
pub fn try_parse_list(text: &str) -> Option<Vec<CpuId>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // More CPUs than any kernel has would be a typing error.
        if first > last || last > 65_535 {
            return None;
        }
        cpus.extend((first..=last).map(CpuId));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ranges_are_cpus_in_order() {
        assert_eq!(parse_list("8,0-2\n"), [0, 1, 2, 8].map(CpuId));
        assert_eq!(parse_list("0"), [CpuId(0)]);
    }

    #[test]
    fn what_is_no_list_has_no_cpus() {
        assert_eq!(parse_list("(null)"), []);
        assert_eq!(parse_list(""), []);
        assert_eq!(try_parse_list("3-1"), None);
        assert_eq!(try_parse_list("0-99999999"), None);
    }
}
