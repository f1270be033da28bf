//! Functions that somebody has a handler on, and those that `--exposed` names: fentry and kprobe; and the ends of
//! those that tell RCU of an irq or NMI: fexit and kretprobe.
//!
//! A function gets a program of its own, compiled with its id: nothing has to be looked up on a hit, and the
//! kernel's recursion guard, which is per program, never drops the hit on one function because of another.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use rcu_watch_common::slot;

use super::registers::registers;
use crate::emit::{Hook, Rest, hit};

/// The part that all fentry programs share.
#[inline(never)]
fn function_by_fentry(ctx: *mut c_void, probe: u32) {
    hit(ctx, probe, Rest::TaskOrCounted, &Hook::default());
}

/// The part that all kprobe programs share.
#[inline(never)]
fn function_by_kprobe(ctx: *mut c_void, probe: u32) {
    hit(ctx, probe, Rest::TaskOrCounted, &registers(ctx));
}

/// The part that all programs at a function's end share.
#[inline(never)]
fn end_of_function(ctx: *mut c_void, probe: u32) {
    hit(ctx, probe, Rest::Watching, &Hook::default());
}

macro_rules! fentry_programs {
    ($($name:ident = $slot:literal,)*) => {$(
        /// Hook: any function. Context: the function's own. Sends: snapshots that are neither a task's nor of a
        /// counted irq or NMI. Misses: what the kernel's recursion guard drops (counted by the kernel).
        #[fentry]
        pub(crate) fn $name(ctx: FEntryContext) -> i32 {
            function_by_fentry(ctx.as_ptr(), slot::FENTRY + $slot);
            0
        }
    )*};
}

macro_rules! kprobe_programs {
    ($($name:ident = $slot:literal,)*) => {$(
        /// Hook: any function that takes a kprobe. Context: the function's own on an ftrace site, else int3's or,
        /// once optimised, the function's. Sends: as fentry, with registers. Misses: hits while another kprobe,
        /// tracepoint or perf program runs on this CPU (`bpf_prog_active`).
        #[kprobe]
        pub(crate) fn $name(ctx: ProbeContext) -> u32 {
            function_by_kprobe(ctx.as_ptr(), slot::KPROBE + $slot);
            0
        }
    )*};
}

macro_rules! fexit_programs {
    ($($name:ident = $slot:literal,)*) => {$(
        /// Hook: the end of a function that told RCU of an irq or NMI. Sends: snapshots where RCU does not watch
        /// all the same. Misses: as fentry.
        #[fexit]
        pub(crate) fn $name(ctx: FExitContext) -> i32 {
            end_of_function(ctx.as_ptr(), slot::FEXIT + $slot);
            0
        }
    )*};
}

macro_rules! kretprobe_programs {
    ($($name:ident = $slot:literal,)*) => {$(
        /// Hook: as fexit, where that is not to be had. Misses: as kprobe; and since 5.19 whatever is entered while
        /// RCU does not watch (c0f3bb4054ef, "rethook: Reject getting a rethook if RCU is not watching").
        #[kretprobe]
        pub(crate) fn $name(ctx: RetProbeContext) -> u32 {
            end_of_function(ctx.as_ptr(), slot::KRETPROBE + $slot);
            0
        }
    )*};
}

fexit_programs! {
    rcuw_fexit_00 = 0, rcuw_fexit_01 = 1, rcuw_fexit_02 = 2, rcuw_fexit_03 = 3,
    rcuw_fexit_04 = 4, rcuw_fexit_05 = 5, rcuw_fexit_06 = 6, rcuw_fexit_07 = 7,
}

kretprobe_programs! {
    rcuw_kret_00 = 0, rcuw_kret_01 = 1, rcuw_kret_02 = 2, rcuw_kret_03 = 3,
    rcuw_kret_04 = 4, rcuw_kret_05 = 5, rcuw_kret_06 = 6, rcuw_kret_07 = 7,
}

#[rustfmt::skip]
fentry_programs! {
    rcuw_fentry_00 = 0, rcuw_fentry_01 = 1, rcuw_fentry_02 = 2, rcuw_fentry_03 = 3,
    rcuw_fentry_04 = 4, rcuw_fentry_05 = 5, rcuw_fentry_06 = 6, rcuw_fentry_07 = 7,
    rcuw_fentry_08 = 8, rcuw_fentry_09 = 9, rcuw_fentry_10 = 10, rcuw_fentry_11 = 11,
    rcuw_fentry_12 = 12, rcuw_fentry_13 = 13, rcuw_fentry_14 = 14, rcuw_fentry_15 = 15,
    rcuw_fentry_16 = 16, rcuw_fentry_17 = 17, rcuw_fentry_18 = 18, rcuw_fentry_19 = 19,
    rcuw_fentry_20 = 20, rcuw_fentry_21 = 21, rcuw_fentry_22 = 22, rcuw_fentry_23 = 23,
    rcuw_fentry_24 = 24, rcuw_fentry_25 = 25, rcuw_fentry_26 = 26, rcuw_fentry_27 = 27,
    rcuw_fentry_28 = 28, rcuw_fentry_29 = 29, rcuw_fentry_30 = 30, rcuw_fentry_31 = 31,
    rcuw_fentry_32 = 32, rcuw_fentry_33 = 33, rcuw_fentry_34 = 34, rcuw_fentry_35 = 35,
    rcuw_fentry_36 = 36, rcuw_fentry_37 = 37, rcuw_fentry_38 = 38, rcuw_fentry_39 = 39,
    rcuw_fentry_40 = 40, rcuw_fentry_41 = 41, rcuw_fentry_42 = 42, rcuw_fentry_43 = 43,
    rcuw_fentry_44 = 44, rcuw_fentry_45 = 45, rcuw_fentry_46 = 46, rcuw_fentry_47 = 47,
    rcuw_fentry_48 = 48, rcuw_fentry_49 = 49, rcuw_fentry_50 = 50, rcuw_fentry_51 = 51,
    rcuw_fentry_52 = 52, rcuw_fentry_53 = 53, rcuw_fentry_54 = 54, rcuw_fentry_55 = 55,
    rcuw_fentry_56 = 56, rcuw_fentry_57 = 57, rcuw_fentry_58 = 58, rcuw_fentry_59 = 59,
    rcuw_fentry_60 = 60, rcuw_fentry_61 = 61, rcuw_fentry_62 = 62, rcuw_fentry_63 = 63,
}

#[rustfmt::skip]
kprobe_programs! {
    rcuw_kprobe_00 = 0, rcuw_kprobe_01 = 1, rcuw_kprobe_02 = 2, rcuw_kprobe_03 = 3,
    rcuw_kprobe_04 = 4, rcuw_kprobe_05 = 5, rcuw_kprobe_06 = 6, rcuw_kprobe_07 = 7,
    rcuw_kprobe_08 = 8, rcuw_kprobe_09 = 9, rcuw_kprobe_10 = 10, rcuw_kprobe_11 = 11,
    rcuw_kprobe_12 = 12, rcuw_kprobe_13 = 13, rcuw_kprobe_14 = 14, rcuw_kprobe_15 = 15,
    rcuw_kprobe_16 = 16, rcuw_kprobe_17 = 17, rcuw_kprobe_18 = 18, rcuw_kprobe_19 = 19,
    rcuw_kprobe_20 = 20, rcuw_kprobe_21 = 21, rcuw_kprobe_22 = 22, rcuw_kprobe_23 = 23,
    rcuw_kprobe_24 = 24, rcuw_kprobe_25 = 25, rcuw_kprobe_26 = 26, rcuw_kprobe_27 = 27,
    rcuw_kprobe_28 = 28, rcuw_kprobe_29 = 29, rcuw_kprobe_30 = 30, rcuw_kprobe_31 = 31,
    rcuw_kprobe_32 = 32, rcuw_kprobe_33 = 33, rcuw_kprobe_34 = 34, rcuw_kprobe_35 = 35,
    rcuw_kprobe_36 = 36, rcuw_kprobe_37 = 37, rcuw_kprobe_38 = 38, rcuw_kprobe_39 = 39,
    rcuw_kprobe_40 = 40, rcuw_kprobe_41 = 41, rcuw_kprobe_42 = 42, rcuw_kprobe_43 = 43,
    rcuw_kprobe_44 = 44, rcuw_kprobe_45 = 45, rcuw_kprobe_46 = 46, rcuw_kprobe_47 = 47,
    rcuw_kprobe_48 = 48, rcuw_kprobe_49 = 49, rcuw_kprobe_50 = 50, rcuw_kprobe_51 = 51,
    rcuw_kprobe_52 = 52, rcuw_kprobe_53 = 53, rcuw_kprobe_54 = 54, rcuw_kprobe_55 = 55,
    rcuw_kprobe_56 = 56, rcuw_kprobe_57 = 57, rcuw_kprobe_58 = 58, rcuw_kprobe_59 = 59,
    rcuw_kprobe_60 = 60, rcuw_kprobe_61 = 61, rcuw_kprobe_62 = 62, rcuw_kprobe_63 = 63,
}
