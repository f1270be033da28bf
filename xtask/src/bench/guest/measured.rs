//! What the guest said, by observer and work.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::plan::{Observer, Work};
use crate::lab::console::BootRecord;

/// All numbers of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    values: BTreeMap<String, i64>,
    /// Observers that could not be measured, each with what it said.
    pub failed: Vec<String>,
}

impl Measured {
    /// # Errors
    /// A guest that broke, or in which not even rcu-watch could be measured.
    pub(super) fn of(record: &BootRecord, observers: &[Observer]) -> Result<Self> {
        if let Some(panic) = &record.panic {
            bail!("the guest panicked: {panic}");
        }
        let mut measured = Self::default();
        for scenario in &record.scenarios {
            if let Some(why) = scenario.failed.first() {
                bail!("a step of the benchmark failed: {why}");
            }
            for output in scenario.commands.values() {
                measured.read(&String::from_utf8_lossy(&output.stdout));
            }
            for &observer in observers {
                let name = observer.name();
                let output = scenario.commands.get(name).with_context(|| {
                    format!("the guest ended before {name} was run; see its log in target/lab")
                })?;
                if measured.get(observer, "exit").is_none() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let failed = format!("{name} failed: {}", said.trim());
                    // Somebody else's tool may not be up to a kernel; its figures are then left out.
                    if !observer.is_bpftrace() {
                        bail!("{failed}");
                    }
                    measured.failed.push(failed);
                }
            }
        }
        Ok(measured)
    }

    /// `LABEL NAME... VALUE`, a line each.
    pub(super) fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((name, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                self.values.insert(name.to_owned(), value);
            }
        }
    }

    /// All of it, a number a line, for two runs to be compared.
    pub(super) fn lines(&self) -> String {
        self.values.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }

    pub(super) fn get(&self, observer: Observer, name: &str) -> Option<i64> {
        self.values.get(&format!("{} {name}", observer.name())).copied()
    }

    pub(super) fn of_work(&self, observer: Observer, work: Work, name: &str) -> Option<i64> {
        self.get(observer, &format!("{} {name}", work.name()))
    }

    /// A number of the program whose name begins so.
    pub(super) fn of_program(&self, observer: Observer, program: &str, name: &str) -> Option<i64> {
        let prefix = format!("{} program {program}", observer.name());
        let suffix = format!(" {name}");
        let is_it = |label: &str| label.starts_with(&prefix) && label.ends_with(&suffix);
        self.values.iter().find(|(label, _)| is_it(label)).map(|(_, &value)| value)
    }
}
