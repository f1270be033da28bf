//! The scenarios.

mod breaks;
mod census;
mod clients;
mod conduct;
mod dead;
mod follow;
mod functions;
mod held;
mod long;
mod overhead;
mod quiet;
mod recordings;
mod selftests;
mod steps;
mod transitions;
mod transport;
mod unguarded;
mod ways;

use super::Scenario;

/// All of them, those that spoil the guest for others last.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        breaks::SCENARIOS,
        recordings::SCENARIOS,
        quiet::SCENARIOS,
        functions::SCENARIOS,
        follow::SCENARIOS,
        ways::SCENARIOS,
        unguarded::SCENARIOS,
        census::SCENARIOS,
        dead::SCENARIOS,
        transitions::SCENARIOS,
        held::SCENARIOS,
        clients::SCENARIOS,
        selftests::SCENARIOS,
        long::SCENARIOS,
        conduct::SCENARIOS,
        transport::SCENARIOS,
        overhead::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// The scenario of that name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::{legacy, matrix};
    use super::*;

    #[test]
    fn who_is_not_for_every_kernel_says_why() {
        for scenario in all() {
            let is_for_all = scenario.kernels.len() == matrix::KERNELS.len();
            assert_eq!(is_for_all, scenario.elsewhere.is_empty(), "{}", scenario.name);
        }
    }

    #[test]
    fn names_are_unique_and_kernels_known() {
        let names: BTreeSet<&str> = all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(
            all()
                .flat_map(|scenario| scenario.kernels)
                .all(|kernel| matrix::find(kernel).is_some() || *kernel == legacy::NAME)
        );
    }
}
