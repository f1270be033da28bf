//! The loader's side of the BPF programs: load, calibrate, attach, read, count, detach.
//!
//! Everything is held by file descriptors of this process (no pins, no tracefs probes): when it dies,
//! whatever way, the kernel detaches all of it. While it lives, [`OwnPrograms`] detaches before it closes, and
//! waits in between where a program may run in an EQS.

pub(crate) mod attach;
pub(crate) mod calibrate;
mod grace;
mod log;
pub(crate) mod maps;
pub(crate) mod object;
pub(crate) mod peek;
pub(crate) mod reader;
pub(crate) mod stats;
pub(crate) mod transport;
mod types;
pub(crate) mod watchpoint;

pub(crate) use object::StreamOptions;
pub(crate) use reader::{Drained, Reader};
pub use stats::ProbeCounters;

use aya::Ebpf;
use rcu_watch_common::config::StateLayout;
use rcu_watch_core::units::CpuId;

use attach::AttachedProgram;
use calibrate::Reads;
use grace::Grace;
use log::Log;
use types::Functions;
use watchpoint::Watchpoints;

/// Our own programs and maps, loaded for one run. Dropping them detaches what is attached, and waits for what may
/// still be running.
pub(crate) struct OwnPrograms {
    bpf: Ebpf,
    functions: Functions,
    attached: Vec<AttachedProgram>,
    layout: StateLayout,
    /// Where each CPU's per-CPU data starts, as far as calibration read it.
    cpu_offsets: Vec<(CpuId, u64)>,
    watchpoints: Watchpoints,
    grace: Grace,
    log: Log,
    /// Whether calibration reads at checkpoints, or by programs that it runs itself.
    reads: Reads,
    /// While hits count.
    mode: u32,
}

/// What went wrong between us and the kernel's BPF.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BpfError {
    #[error("cannot load the BPF object; `rcu-watch probes` says what is missing")]
    Load(#[from] aya::EbpfError),
    #[error("the kernel's BTF has no function {symbol}, so fentry cannot find it")]
    NoType { symbol: String },
    #[error("cannot read what the programs say; leave out -vv")]
    Log(#[from] aya_log::Error),
    #[error("program {program}")]
    Program {
        program: String,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("map {map}")]
    Map {
        map: &'static str,
        #[source]
        source: aya::maps::MapError,
    },
    #[error("the BPF object has no {0}; this build of rcu-watch is broken")]
    Missing(String),
    #[error("cannot open the perf buffer of cpu {cpu}; choose a smaller --ring-bytes")]
    PerfBuffer {
        cpu: u32,
        #[source]
        source: std::io::Error,
    },
    #[error("all {0} programs for functions are in use; name fewer functions with --function")]
    OutOfSlots(u32),
    #[error("no program for {symbol} by this mechanism; this build of rcu-watch is broken")]
    NoProgram { symbol: String },
    #[error("cannot read where cpu {0} keeps its data; is it possible at all?")]
    Unreadable(CpuId),
    #[error("no watchpoint on cpu {cpu}: {reason}")]
    Watchpoint {
        cpu: CpuId,
        reason: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{call} failed")]
    Syscall {
        call: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Names the program in an error of aya's.
fn failed(program: &str) -> impl Fn(aya::programs::ProgramError) -> BpfError {
    let program = program.to_owned();
    move |source| BpfError::Program { program: program.clone(), source }
}
