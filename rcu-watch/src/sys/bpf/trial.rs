//! Whether this kernel, with these privileges, lets a program or a map be made: by making the smallest one.
//!
//! What is made is closed again at once, and attached to nothing.

use std::io;

use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_map_type, bpf_prog_type};
use nix::unistd::{SysconfVar, sysconf};

use super::call::{call_for_fd, zeroed};

/// Creates the smallest ring buffer and drops it.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn ring_buffer() -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
    map(bpf_map_type::BPF_MAP_TYPE_RINGBUF, 0, u32::try_from(page).map_err(io::Error::other)?)
}

/// Creates the smallest perf event array and drops it.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn perf_event_array() -> io::Result<()> {
    map(bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 1)
}

fn map(map_type: bpf_map_type, key_and_value_bytes: u32, max_entries: u32) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_1.map_type = map_type as u32;
    attr.__bindgen_anon_1.key_size = key_and_value_bytes;
    attr.__bindgen_anon_1.value_size = key_and_value_bytes;
    attr.__bindgen_anon_1.max_entries = max_entries;
    call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(drop)
}

/// Loads the smallest program of this type and drops it. `target` is the BTF id of the function that a
/// tracing program is for.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn program(program_type: bpf_prog_type, target: Option<u32>) -> io::Result<()> {
    // BPF_MOV64_IMM(r0, 0); BPF_EXIT_INSN()
    let instructions: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut attr = zeroed();
    attr.__bindgen_anon_3.prog_type = program_type as u32;
    attr.__bindgen_anon_3.insn_cnt = instructions.len() as u32;
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.license = license.as_ptr() as u64;
    if let Some(target) = target {
        attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_TRACE_FENTRY as u32;
        attr.__bindgen_anon_3.attach_btf_id = target;
    }
    call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(drop)
}
