//! The loaded BPF object: maps made, globals set, no program verified or attached yet.

use rcu_watch_common::config::{StateLayout, StreamConfig, mode};
use rcu_watch_core::report::header::Transport;
use rcu_watch_core::units::CpuId;

use super::calibrate::Reads;
use super::grace::Grace;
use super::log::Log;
use super::maps::{self, MapValue};
use super::reader::Reader;
use super::transport;
use super::types::{self, Functions};
use super::watchpoint::Watchpoints;
use super::{BpfError, OwnPrograms};

/// How the stream from the programs is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamOptions {
    pub transport: Transport,
    /// Size of the ring buffer in bytes: a power of two, and at least a page. Perf buffers share it.
    pub ring_bytes: u32,
    /// Send snapshots at rest too.
    pub emit_at_rest: bool,
    /// Have the programs say what became of hits that they could not use.
    pub logs: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { transport: Transport::default(), ring_bytes: 1 << 20, emit_at_rest: false, logs: false }
    }
}

impl OwnPrograms {
    /// Makes the maps and sets the globals; verifies and attaches nothing.
    ///
    /// # Errors
    /// Where the kernel refuses: no BPF, no privileges, no such transport.
    pub(crate) fn load(layout: StateLayout, options: StreamOptions) -> Result<(Self, Reader), BpfError> {
        let global = MapValue(layout);
        let stream = MapValue(StreamConfig { wake_bytes: u64::from(options.ring_bytes / 4) });
        let mut loader = types::loader();
        loader.override_global(maps::LAYOUT, &global, true).override_global(maps::STREAM, &stream, true);
        if options.transport == Transport::RingBuffer {
            loader.map_max_entries(maps::EVENTS, options.ring_bytes);
        }
        let mut bpf = loader.load(transport::object(options.transport, options.logs))?;
        let log = if options.logs { Log::open(&mut bpf)? } else { Log::default() };
        let reader = transport::open(options.transport, &mut bpf, options.ring_bytes)?;
        let programs = Self {
            bpf,
            functions: Functions::default(),
            attached: Vec::new(),
            layout,
            cpu_offsets: Vec::new(),
            watchpoints: Watchpoints::default(),
            grace: Grace::default(),
            log,
            reads: Reads::of(options.transport),
            mode: match (options.emit_at_rest, layout.is_usual()) {
                (true, _) => mode::ALL,
                (false, true) => mode::QUIET_USUAL,
                (false, false) => mode::QUIET,
            },
        };
        Ok((programs, reader))
    }

    /// Gives back what loading needed and a run does not, which the allocator would keep.
    pub(crate) fn give_back_memory(&mut self) {
        self.functions = Functions::default();
        #[cfg(target_env = "gnu")]
        // SAFETY: frees no memory that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Counts from here on, on these CPUs. Nothing is counted before; which CPUs cannot be changed afterwards.
    ///
    /// # Errors
    /// Where a map cannot be written.
    pub(crate) fn start_counting(&mut self, cpus: &[CpuId]) -> Result<(), BpfError> {
        maps::watch_only(&mut self.bpf, |cpu| cpus.contains(&cpu))?;
        maps::set_mode(&mut self.bpf, self.mode)
    }

    /// Counts nothing more, whatever is still attached.
    ///
    /// # Errors
    /// Where the map cannot be written.
    pub(crate) fn stop_counting(&mut self) -> Result<(), BpfError> {
        maps::set_mode(&mut self.bpf, mode::STOPPED)
    }
}
