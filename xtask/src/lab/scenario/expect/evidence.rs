//! What a scenario left behind, each stream read once however much is said of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::super::console::{Output, ScenarioRecord};
use super::super::stream::Stream;

pub(crate) struct Evidence<'a> {
    record: &'a ScenarioRecord,
    streams: RefCell<BTreeMap<&'static str, Result<Rc<Stream>, String>>>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn of(record: &'a ScenarioRecord) -> Self {
        Self { record, streams: RefCell::default() }
    }

    pub(crate) fn command(&self, run: &str) -> Result<&'a Output, String> {
        self.record.commands.get(run).ok_or_else(|| "it did not run".to_owned())
    }

    /// What the command printed.
    pub(crate) fn printed(&self, run: &str) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.command(run)?.stdout).into_owned())
    }

    /// The same, as a run's stream.
    pub(crate) fn stream(&self, run: &'static str) -> Result<Rc<Stream>, String> {
        let read = || Ok(Rc::new(Stream::read(&self.command(run)?.stdout)?));
        self.streams.borrow_mut().entry(run).or_insert_with(read).clone()
    }

    pub(crate) fn file(&self, file: &str) -> Result<String, String> {
        let bytes = self.record.files.get(file).ok_or("it was not read")?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}
