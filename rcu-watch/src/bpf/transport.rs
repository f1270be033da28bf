//! The way of the records to user space: what it needs of the kernel, and how it is made.
//!
//! Three objects from one source, since every map of an object is made when it is loaded, and every program with all that
//! it calls: one with a ring buffer, the same with a log, and one with a perf event array for kernels that have no ring.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use aya::Ebpf;
use aya::maps::Map;
use nix::unistd::{SysconfVar, sysconf};
use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};
use rcu_watch_core::report::header::Transport;

use super::reader::Reader;
use super::{BpfError, maps};
use crate::sys::bpf::map::set_fd;

/// The compiled programs of `rcu-watch-ebpf`.
static RING: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rcu-watch-bpf"));
static RING_LOG: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rcu-watch-bpf-log"));
static PERF: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rcu-watch-bpf-perf"));

/// Pages of a CPU's perf buffer at most: what `kernel.perf_event_mlock_kb` allows without more being asked.
const PAGES_MAX: usize = 128;

/// The compiled programs that send that way. `logs`: some that say more, where there are any.
pub(super) const fn object(transport: Transport, logs: bool) -> &'static [u8] {
    match transport {
        Transport::RingBuffer if logs => RING_LOG,
        Transport::RingBuffer => RING,
        Transport::PerfEventArray => PERF,
    }
}

/// The reader's end. `bytes` is shared by all buffers.
pub(super) fn open(transport: Transport, bpf: &mut Ebpf, bytes: u32) -> Result<Reader, BpfError> {
    let events = maps::take_events(bpf)?;
    match transport {
        Transport::RingBuffer => {
            Ok(Reader::ring(events.try_into().map_err(maps::at(maps::EVENTS))?, bytes as usize))
        }
        Transport::PerfEventArray => open_buffers(events, bytes),
    }
}

/// Opens a buffer for each online CPU and tells the map. aya's own would wake the reader for every record, and a
/// wake-up is an interrupt that ends the idle period under watch, whose end is the next record.
fn open_buffers(events: Map, bytes: u32) -> Result<Reader, BpfError> {
    let Map::PerfEventArray(events) = events else {
        return Err(BpfError::Missing("perf event array".to_owned()));
    };
    let cpus = aya::util::online_cpus()
        .map_err(|(_, source)| BpfError::Syscall { call: "reading the online CPUs", source })?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| usize::try_from(page).ok()).unwrap_or(4096);
    let size = page * pages_of(bytes as usize, page, cpus.len());
    let total = size * cpus.len();
    let mut buffers = Vec::with_capacity(cpus.len());
    for cpu in cpus {
        let buffer = open_buffer(cpu, size).map_err(|source| BpfError::PerfBuffer { cpu, source })?;
        // SAFETY: the buffer is open until after the call.
        let event = unsafe { BorrowedFd::borrow_raw(buffer.as_raw_fd()) };
        // aya does it for its own buffers only.
        set_fd(events.fd().as_fd(), cpu, event)
            .map_err(|source| BpfError::Syscall { call: "bpf(BPF_MAP_UPDATE_ELEM)", source })?;
        buffers.push(buffer);
    }
    Ok(Reader::perf(events, buffers, total))
}

fn open_buffer(cpu: u32, size: usize) -> io::Result<Sampler> {
    Builder::new(Software::BPF_OUTPUT)
        .any_pid()
        .one_cpu(cpu as usize)
        .include_kernel()
        .sample(SampleFlag::RAW)
        .sample_period(1)
        // Never: the reader looks by itself.
        .wakeup_watermark(size)
        .enabled(true)
        .build()?
        .sampled(size)
}

/// Pages of each CPU's buffer: a power of two, as perf wants it.
fn pages_of(bytes: usize, page: usize, cpus: usize) -> usize {
    let share = bytes / page / cpus.max(1);
    let pages = share.checked_next_power_of_two().unwrap_or(PAGES_MAX);
    pages.clamp(1, PAGES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpus_buffer_is_a_power_of_two_of_pages() {
        assert_eq!(pages_of(1 << 20, 4096, 2), 128);
        assert_eq!(pages_of(1 << 20, 4096, 3), 128);
        assert_eq!(pages_of(1 << 20, 4096, 512), 1);
        assert_eq!(pages_of(4096, 4096, 2), 1);
        assert_eq!(pages_of(1 << 30, 4096, 1), PAGES_MAX);
        assert_eq!(pages_of(5 * 4096, 4096, 1), 8);
    }
}
