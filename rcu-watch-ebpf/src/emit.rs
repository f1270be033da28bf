//! From a hit to a record, and the books of it: the only place that counts.
//!
//! `hits = at_rest + turned`, `turned = unstable + emitted`, and `emitted` counts a record before the transport is asked
//! for room, so that what it has none for is `lost`. No program runs twice at a time on one CPU (the kernel's
//! recursion guard; `sched_switch`, `cpu_idle` and NMIs do not nest), so the counters need no atomics.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_get_stack};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use rcu_watch_common::config::mode;
use rcu_watch_common::counter::{ProbeState, UNWATCHED};
use rcu_watch_common::record::{
    RecordHeader, STACK_FRAMES_MAX, SnapshotRecord, StackRecord, WIRE_VERSION, flag, kind,
};
use rcu_watch_common::slot;

use crate::log;
use crate::maps::{self, LOSS, WANT_STACK, global};
use crate::read::{self, Block, NMI_NESTING_REST, UNREAD, Words};
use crate::transport;

/// What a probe takes for the normal state of its CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Kernel code of a task: W=1, N=1, M at rest.
    Task,
    /// As `Task`, or an irq or NMI that was counted as one; on a CPU that RCU takes for online.
    TaskOrCounted,
    /// An NMI that was counted as one.
    Counted,
    /// RCU watches: nothing else is expected at the end of a function that told RCU of an irq or NMI.
    Watching,
    /// An NMI that was counted as one and did not come out of an EQS.
    CountedOnKernel,
    /// Nothing: every hit is sent.
    Never,
}

/// What the hook adds to the words.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hook {
    pub flags: u32,
    pub ip: u64,
    pub sp: u64,
    pub rflags: u64,
    pub caller: u64,
    pub arg: u64,
    /// Whether this run gets a number (`track_seq`). Only programs that run with interrupts off and do not nest do.
    pub tracks: bool,
    /// Whether the program runs like an NMI and so does not wait for the ring's lock: its CPU keeps a record that it
    /// cannot send at once. Only for programs that track.
    pub keeps: bool,
}

/// Takes a hit of `probe` from the snapshot to the ring buffer.
#[inline(always)]
pub(crate) fn hit(ctx: *mut c_void, probe: u32, rest: Rest, hook: &Hook) {
    let Some((state, block)) = watched(probe) else { return };
    let mut copy = Block::uninit();
    if read::copy(block, &mut copy) {
        judge(ctx, probe, rest, state, &read::take(block, &copy), hook);
    } else {
        unstable(probe, state);
    }
}

/// As [`hit`], where tasks at rest are expected. Nearly all hits are of those, so their way is what rcu-watch costs: it
/// is all in this function, and every other hit turns aside.
#[inline(always)]
pub(crate) fn hit_of_task(ctx: *mut c_void, probe: u32, arg: u64) {
    let Some((state, block)) = watched(probe) else { return };
    let mut copy = Block::uninit();
    if !read::copy(block, &mut copy) {
        unstable(probe, state);
    } else if maps::mode() == mode::QUIET_USUAL && read::is_usual_task(&copy) {
        state.at_rest += 1;
    } else {
        let words = read::take(state.block, &copy);
        turn_aside(ctx, probe, state, &words, arg);
    }
}

/// Not inlined, so that the short way need not save the registers that only this one uses.
#[inline(never)]
fn turn_aside(ctx: *mut c_void, probe: u32, state: &mut ProbeState, words: &Words, arg: u64) {
    judge(ctx, probe, Rest::Task, state, words, &Hook { arg, tracks: true, ..Hook::default() });
}

/// The entry of `probe` for this CPU, and where the CPU's words are; `None` where hits do not count.
#[inline(always)]
fn watched(probe: u32) -> Option<(&'static mut ProbeState, u64)> {
    // SAFETY: this CPU's map value; see the module's note on why nobody else writes it meanwhile.
    let state = unsafe { &mut *LOSS.get_ptr_mut(probe)? };
    let block = if state.block > UNWATCHED { state.block } else { read::find_block(state) };
    (block > UNWATCHED).then_some((state, block))
}

#[inline(always)]
fn judge(ctx: *mut c_void, probe: u32, rest: Rest, state: &mut ProbeState, words: &Words, hook: &Hook) {
    let mut preempt_count = UNREAD;
    if rest != Rest::Task {
        preempt_count = read::preempt_count(words);
    }
    let mut flags = hook.flags;
    let mut is_online = true;
    if rest == Rest::TaskOrCounted {
        let online = read::rcu_online(state, words);
        flags |= online;
        is_online = online != flag::HAS_RCU_ONLINE;
    }
    let mode = maps::mode();
    if mode == mode::STOPPED {
        return;
    }
    if is_online && mode != mode::ALL && is_at_rest(rest, words, preempt_count) {
        state.at_rest += 1;
        return;
    }
    if preempt_count == UNREAD {
        preempt_count = read::preempt_count(words);
    }
    if preempt_count == UNREAD || !read::is_stable(words) {
        unstable(probe, state);
        return;
    }
    state.turned += 1;
    send(ctx, probe, state, words, preempt_count, &Hook { flags, ..*hook });
}

/// Counts a hit whose words could not be read, or moved while they were.
#[inline(always)]
fn unstable(probe: u32, state: &mut ProbeState) {
    if maps::mode() != mode::STOPPED {
        state.turned += 1;
        state.unstable += 1;
        log::unstable(probe, state.block);
    }
}

#[inline(always)]
fn is_at_rest(rest: Rest, words: &Words, preempt_count: u64) -> bool {
    let in_kernel = words.state & global!(LAYOUT.rest_mask) == global!(LAYOUT.rest_state);
    let task = in_kernel && words.nesting == 1 && words.nmi_nesting == NMI_NESTING_REST;
    match rest {
        Rest::Never => false,
        Rest::Watching => is_watching(words, global!(LAYOUT.rest_mask)),
        Rest::Task => task,
        Rest::CountedOnKernel if words.nmi_nesting == 1 => false,
        Rest::TaskOrCounted | Rest::Counted | Rest::CountedOnKernel => {
            if preempt_count == UNREAD {
                return false;
            }
            let nmi = preempt_count & global!(LAYOUT.nmi_mask) != 0;
            let hardirq = preempt_count & global!(LAYOUT.hardirq_mask) != 0;
            if nmi || (hardirq && is_idle_task()) {
                return is_counted(words, global!(LAYOUT.rest_mask));
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

/// W. On kernels with context bits (the lowest two) the watching bit is the one of `rest_mask` above them; on older
/// ones it is the whole mask.
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
    state: &mut ProbeState,
    words: &Words,
    preempt_count: u64,
    hook: &Hook,
) {
    let probe_seq = state.emitted;
    state.emitted += 1;
    let track_seq = if hook.tracks { track_seq() } else { 0 };
    let write = |record: *mut SnapshotRecord| {
        // SAFETY: room for one SnapshotRecord, and every byte of it is written.
        unsafe {
            fill(record, kind::SNAPSHOT, size_of::<SnapshotRecord>(), probe_seq);
            describe(record, probe, words, preempt_count, track_seq, hook);
        }
    };
    let write_with_stack = |record: *mut StackRecord| {
        // SAFETY: room for one StackRecord; every byte of it is written, the frames by the helper or, where
        // it fails, by nobody: zero length says that they mean nothing.
        unsafe {
            let snapshot = &raw mut (*record).snapshot;
            fill(snapshot, kind::SNAPSHOT_WITH_STACK, size_of::<StackRecord>(), probe_seq);
            describe(snapshot, probe, words, preempt_count, track_seq, hook);
            (*record).frames_len_bytes =
                bpf_get_stack(ctx, (&raw mut (*record).frames).cast(), (STACK_FRAMES_MAX * 8) as u32, 0);
        }
    };
    // What waits goes first: the records of a CPU keep their order.
    let is_free = !hook.tracks || transport::send_kept();
    let sent = is_free
        && if takes_stack(probe) {
            transport::send(ctx, probe, write_with_stack)
        } else {
            transport::send(ctx, probe, write)
        };
    let kept = !sent && hook.keeps && transport::keep(write);
    if !sent && !kept {
        state.lost += 1;
        log::lost(probe, probe_seq);
    }
}

/// The number of this run among all tracked runs of this CPU. It is the sum of their books, which is exact because none
/// of these programs interrupts another.
#[inline(always)]
fn track_seq() -> u32 {
    let mut runs = 0u64;
    for probe in [slot::CHECKPOINT, slot::EQS_ENTER, slot::EQS_EXIT, slot::WATCH_STATE] {
        if let Some(state) = LOSS.get_ptr(probe) {
            // SAFETY: this CPU's map value.
            runs += unsafe { (*state).at_rest + (*state).turned };
        }
    }
    runs as u32
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

/// Writes what every record begins with.
///
/// # Safety
/// `record` is valid for writes.
#[inline(always)]
unsafe fn fill(record: *mut SnapshotRecord, kind: u16, len: usize, probe_seq: u64) {
    // SAFETY: the caller's record is valid for writes.
    unsafe {
        (*record).header = RecordHeader { kind, version: WIRE_VERSION, len_bytes: len as u32 };
        (*record).ts_ns = bpf_ktime_get_ns();
        (*record).probe_seq = probe_seq;
    }
}

/// Writes the rest of a snapshot.
///
/// # Safety
/// `record` is valid for writes.
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
