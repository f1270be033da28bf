//! What the programs themselves have to say (`-vv`): to standard error, a line each.

use std::fmt::Display;

use aya::Ebpf;
use aya_log::EbpfLogger;
use rcu_watch_core::shown::shown;

use super::BpfError;
use crate::outlet;

/// The reader's end; nothing where nobody asked for it, or where the kernel has no ring buffer.
#[derive(Default)]
pub(super) struct Log(Option<EbpfLogger<ToStderr>>);

impl Log {
    pub(super) fn open(bpf: &mut Ebpf) -> Result<Self, BpfError> {
        match EbpfLogger::init_with_logger(bpf, ToStderr) {
            Ok(logger) => Ok(Self(Some(logger))),
            Err(aya_log::Error::MapNotFound) => {
                say("the programs can say nothing where records go by perf buffers");
                Ok(Self::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Prints what was said since.
    pub(super) fn flush(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

struct ToStderr;

impl log::Log for ToStderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        say(record.args());
    }

    fn flush(&self) {}
}

fn say(what: impl Display) {
    outlet::say(&format!("rcu-watch: bpf: {}\n", shown(&what.to_string())));
}
