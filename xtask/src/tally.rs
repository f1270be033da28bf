//! How checks and scenarios went: counted, and at the end told again where something was wrong.
//!
//! Whoever reads a log reads its end first, and some keep no more of it.

use crate::process::say;

/// The sum of a run so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub passed: usize,
    pub skipped: usize,
    failed: usize,
    /// What failed, and why.
    failures: Vec<String>,
    /// What failed, and passed when it was tried again.
    unsteady: Vec<String>,
}

impl Tally {
    pub(crate) fn fail(&mut self, what: String) {
        self.fail_all(1, what);
    }

    /// So many, for one reason.
    pub(crate) fn fail_all(&mut self, count: usize, what: String) {
        self.failed += count;
        self.failures.push(what);
    }

    /// Counts as passed, and is told.
    pub(crate) fn pass_unsteadily(&mut self, what: String) {
        self.passed += 1;
        self.unsteady.push(what);
    }

    pub(crate) const fn failed(&self) -> usize {
        self.failed
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.skipped += more.skipped;
        self.failed += more.failed;
        self.failures.extend(more.failures);
        self.unsteady.extend(more.unsteady);
    }

    pub(crate) fn say(&self) {
        for what in &self.unsteady {
            say(&format!("passed at the second try: {what}"));
        }
        for what in &self.failures {
            say(&format!("FAILED: {what}"));
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
    }
}
