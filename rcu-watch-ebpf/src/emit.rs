//! From a hit to a record, and the books of it: the only place that counts.
//!
//! `hits = at_rest + unstable + emitted`, and `emitted` counts a record before the transport is asked for
//! room, so that what it has none for is `lost`. No program runs twice at a time on one CPU (the kernel's
//! recursion guard; `sched_switch`, `cpu_idle` and NMIs do not nest), so the counters need no atomics.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_get_stack};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use rcu_watch_common::counter::ProbeCounters;
use rcu_watch_common::record::{
    RecordHeader, STACK_FRAMES_MAX, SnapshotRecord, StackRecord, WIRE_VERSION, flag, kind,
};

use crate::maps::{LOSS, WANT_STACK, layout, stream};
use crate::read::{self, NMI_NESTING_REST, UNREAD, Words};
use crate::transport;

/// What a probe takes for the normal state of its CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Kernel code of a task: W=1, N=1, M at rest.
    Task,
    /// As `Task`, or an irq or NMI that was counted as one; on a CPU that RCU takes for online.
    TaskOrCounted,
    /// An NMI that was counted as one.
    Counted,
    /// RCU watches: all that is asked of whatever told it to.
    Watching,
    /// An NMI that was counted as one and did not come out of an EQS.
    CountedOnKernel,
    /// Nothing: every hit is sent.
    Never,
}

/// What the hook adds to the words.
#[derive(Clone, Copy, Default)]
pub struct Hook {
    pub flags: u32,
    pub ip: u64,
    pub sp: u64,
    pub rflags: u64,
    pub caller: u64,
    pub arg: u64,
    /// Whether the run is numbered: those that are run with interrupts off and do not nest.
    pub tracks: bool,
}

/// Takes a hit of `probe` from the snapshot to the ring buffer.
#[inline(always)]
pub fn hit(ctx: *mut c_void, probe: u32, rest: Rest, hook: &Hook) {
    let mut track_seq = 0;
    let offset = read::watched_cpu(hook.tracks, &mut track_seq);
    if offset == 0 {
        return;
    }
    let Some(books) = LOSS.get_ptr_mut(probe) else { return };
    // SAFETY: this CPU's map value; see the module's note on why nobody else writes it meanwhile.
    let books = unsafe { &mut *books };
    books.hits += 1;
    let mut words = Words::default();
    if !read::words(offset, &mut words) {
        books.unstable += 1;
        return;
    }
    let mut preempt_count = UNREAD;
    if rest != Rest::Task {
        preempt_count = read::preempt_count(&words);
    }
    let mut flags = hook.flags;
    let mut is_online = true;
    if rest == Rest::TaskOrCounted {
        let online = read::rcu_online(offset);
        flags |= online;
        is_online = online != flag::HAS_RCU_ONLINE;
    }
    if is_online && is_at_rest(rest, &words, preempt_count) {
        if stream().emit_at_rest == 0 {
            books.at_rest += 1;
            return;
        }
        flags |= flag::AT_REST;
    }
    if preempt_count == UNREAD {
        preempt_count = read::preempt_count(&words);
    }
    if preempt_count == UNREAD || !read::is_stable(&words) {
        books.unstable += 1;
        return;
    }
    send(ctx, probe, books, &words, preempt_count, track_seq, &Hook { flags, ..*hook });
}

#[inline(always)]
fn is_at_rest(rest: Rest, words: &Words, preempt_count: u64) -> bool {
    let layout = layout();
    let in_kernel = words.state & layout.rest_mask == layout.rest_state;
    let task = in_kernel && words.nesting == 1 && words.nmi_nesting == NMI_NESTING_REST;
    match rest {
        Rest::Never => false,
        Rest::Watching => is_watching(words, layout.rest_mask),
        Rest::Task => task,
        Rest::CountedOnKernel if words.nmi_nesting == 1 => false,
        Rest::TaskOrCounted | Rest::Counted | Rest::CountedOnKernel => {
            if preempt_count == UNREAD {
                return false;
            }
            let nmi = preempt_count & layout.nmi_mask != 0;
            let hardirq = preempt_count & layout.hardirq_mask != 0;
            if nmi || (hardirq && is_idle_task()) {
                return is_counted(words, layout.rest_mask);
            }
            rest == Rest::TaskOrCounted && task
        }
    }
}

/// Whether M says that an irq or NMI was counted: on top of the kernel (even, above rest) or of an EQS (odd).
#[inline(always)]
fn is_counted(words: &Words, rest_mask: u32) -> bool {
    let watching = is_watching(words, rest_mask);
    let odd = words.nmi_nesting & 1 == 1;
    let on_kernel = words.nesting == 1 && words.nmi_nesting > NMI_NESTING_REST && !odd;
    let on_eqs = words.nesting == 0 && words.nmi_nesting < NMI_NESTING_REST && odd;
    watching && (on_kernel || on_eqs)
}

/// Of `rest_mask` only the watching bit is above the context bits.
#[inline(always)]
fn is_watching(words: &Words, rest_mask: u32) -> bool {
    words.state & rest_mask & !3 != 0 || (rest_mask <= 3 && words.state & rest_mask != 0)
}

#[inline(always)]
fn is_idle_task() -> bool {
    bpf_get_current_pid_tgid() as u32 == 0
}

#[inline(always)]
fn send(
    ctx: *mut c_void,
    probe: u32,
    books: &mut ProbeCounters,
    words: &Words,
    preempt_count: u64,
    track_seq: u32,
    hook: &Hook,
) {
    let probe_seq = books.emitted;
    books.emitted += 1;
    let sent = if takes_stack(probe) {
        transport::send(ctx, probe, |record: *mut StackRecord| {
            // SAFETY: room for one StackRecord; every byte of it is written, the frames by the helper or, where
            // it fails, by nobody: zero length says that they mean nothing.
            unsafe {
                let snapshot = &raw mut (*record).snapshot;
                fill(snapshot, kind::SNAPSHOT_WITH_STACK, size_of::<StackRecord>(), probe_seq);
                describe(snapshot, probe, words, preempt_count, track_seq, hook);
                (*record).frames_len_bytes =
                    bpf_get_stack(ctx, (&raw mut (*record).frames).cast(), (STACK_FRAMES_MAX * 8) as u32, 0);
            }
        })
    } else {
        transport::send(ctx, probe, |record: *mut SnapshotRecord| {
            // SAFETY: room for one SnapshotRecord, and every byte of it is written.
            unsafe {
                fill(record, kind::SNAPSHOT, size_of::<SnapshotRecord>(), probe_seq);
                describe(record, probe, words, preempt_count, track_seq, hook);
            }
        })
    };
    if !sent {
        books.lost += 1;
    }
}

/// Whether the next record of this probe takes a stack; asks for none after that.
#[inline(always)]
fn takes_stack(probe: u32) -> bool {
    let Some(want) = WANT_STACK.get_ptr_mut(probe) else { return false };
    // SAFETY: a map value. Two CPUs may both see it set: two stacks are no harm.
    unsafe {
        let wanted = *want != 0;
        if wanted {
            *want = 0;
        }
        wanted
    }
}

#[inline(always)]
unsafe fn fill(record: *mut SnapshotRecord, kind: u16, len: usize, probe_seq: u64) {
    // SAFETY: the caller's record is valid for writes.
    unsafe {
        (*record).header = RecordHeader { kind, version: WIRE_VERSION, len_bytes: len as u32 };
        (*record).ts_ns = bpf_ktime_get_ns();
        (*record).probe_seq = probe_seq;
    }
}

#[inline(always)]
unsafe fn describe(
    record: *mut SnapshotRecord,
    probe: u32,
    words: &Words,
    preempt_count: u64,
    track_seq: u32,
    hook: &Hook,
) {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the caller's record is valid for writes; the helper writes the 16 bytes that it is told of.
    unsafe {
        (*record).nesting = words.nesting;
        (*record).nmi_nesting = words.nmi_nesting;
        (*record).preempt_count = preempt_count;
        (*record).state = words.state;
        (*record).probe = probe;
        (*record).cpu = bpf_get_smp_processor_id();
        (*record).flags = hook.flags;
        (*record).pid = pid_tgid as u32;
        (*record).tgid = (pid_tgid >> 32) as u32;
        (*record).ip = hook.ip;
        (*record).caller = hook.caller;
        (*record).rflags = hook.rflags as u32;
        (*record).track_seq = track_seq;
        (*record).sp = hook.sp;
        (*record).arg = hook.arg;
        bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
    }
}
