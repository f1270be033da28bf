//! Registers of the probed or interrupted code, where the context of the program holds them.

use core::ffi::c_void;
#[cfg(bpf_target_arch = "x86_64")]
use core::ptr::read_volatile;

#[cfg(bpf_target_arch = "x86_64")]
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
#[cfg(bpf_target_arch = "x86_64")]
use rcu_watch_common::record::flag;

use crate::emit::Hook;
#[cfg(bpf_target_arch = "x86_64")]
use crate::read;

/// The registers of a context that starts with a `pt_regs`: that of kprobe and perf event programs.
///
/// The word on the stack's top is the return address at a function's first instruction, and in a leaf that
/// has no frame.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn registers(ctx: *mut c_void) -> Hook {
    let regs = ctx.cast::<aya_ebpf::bindings::pt_regs>();
    // SAFETY: the context starts with a pt_regs. Volatile: of a perf event program's the verifier takes whole
    // words only, and the compiler would read one byte of cs.
    let (ip, sp, rflags, cs) = unsafe {
        (
            read_volatile(&raw const (*regs).rip),
            read_volatile(&raw const (*regs).rsp),
            read_volatile(&raw const (*regs).eflags),
            read_volatile(&raw const (*regs).cs),
        )
    };
    let mut flags = flag::HAS_REGS;
    if cs & 3 != 0 {
        flags |= flag::USER_REGS;
    }
    let caller = read::kernel_word(sp);
    if caller != 0 {
        flags |= flag::HAS_CALLER;
    }
    Hook { flags, ip, sp, rflags, caller, arg: 0, tracks: false, keeps: false }
}

#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn registers(_ctx: *mut c_void) -> Hook {
    Hook::default()
}

/// The registers that an entry put on its stack, by their address.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn interrupted(regs: *const c_void) -> Hook {
    let mut words = [0u64; 4];
    // SAFETY: the helper takes any address, and writes the bytes of `words`.
    let failed = unsafe {
        bpf_probe_read_kernel(
            words.as_mut_ptr().cast(),
            size_of_val(&words) as u32,
            regs.wrapping_byte_add(core::mem::offset_of!(aya_ebpf::bindings::pt_regs, rip)),
        )
    };
    if failed != 0 {
        return Hook::default();
    }
    // What the processor itself pushed.
    let [ip, cs, rflags, sp] = words;
    let mut flags = flag::HAS_REGS;
    if cs & 3 != 0 {
        flags |= flag::USER_REGS;
    }
    Hook { flags, ip, sp, rflags, caller: 0, arg: 0, tracks: false, keeps: false }
}

#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn interrupted(_regs: *const c_void) -> Hook {
    Hook::default()
}
