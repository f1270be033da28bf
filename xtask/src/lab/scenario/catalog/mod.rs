//! The scenarios.

mod breaks;
mod conduct;
mod functions;
mod quiet;
mod steps;
mod transport;

use super::Scenario;

/// All of them, those that spoil the guest for others last.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [breaks::SCENARIOS, quiet::SCENARIOS, functions::SCENARIOS, conduct::SCENARIOS, transport::SCENARIOS]
        .into_iter()
        .flatten()
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::{legacy, matrix};
    use super::*;

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
