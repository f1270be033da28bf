//! What a run is to do, beside what its plan says.
//!
//! The command line fills it in (`cli::options`); a program that has none starts from the default, which
//! watches until it is told to stop.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rcu_watch_core::stream::Filter;
use rcu_watch_core::verdict::FailOn;

use crate::sink;

/// Of each CPU's time, in per cent.
pub(crate) const MAX_OVERHEAD: f64 = 1.0;

/// Some three times what a busy host takes.
pub(crate) const STALL_AFTER: Duration = Duration::from_secs(15);

/// How long to watch, what to tell, and what it may cost.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// `None`: until something else ends it.
    pub duration: Option<Duration>,
    /// Stop after this many findings, repeats not counted.
    pub limit: Option<u64>,
    pub filter: Filter,
    pub fail_on: FailOn,
    /// Send one finding marked synthetic through the whole pipeline.
    pub self_test: bool,
    /// Size of the ring buffer; `None`: the usual one.
    pub ring_bytes: Option<u32>,
    /// Of each CPU's time in per cent; above it the dearest probes are given up for a while.
    pub max_overhead: f64,
    /// How long a transition of a livepatch may take before it is told as one that stalls.
    pub stall_after: Duration,
    /// Somebody looks on while it runs: transitions that are as they should be are sent, too, and counts at once.
    pub draws: bool,
    /// A recording of every record is written there.
    pub record: Option<PathBuf>,
    /// Run beside the watch, which ends with it; empty: nothing.
    pub child: Vec<OsString>,
    pub output: sink::Options,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            duration: None,
            limit: None,
            filter: Filter::default(),
            fail_on: FailOn::default(),
            self_test: false,
            ring_bytes: None,
            max_overhead: MAX_OVERHEAD,
            stall_after: STALL_AFTER,
            draws: false,
            record: None,
            child: Vec::new(),
            output: sink::Options::default(),
        }
    }
}
