//! The call itself, and the forms of it that more than one caller needs.

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};

/// A struct that [`bpf_cmd::BPF_OBJ_GET_INFO_BY_FD`] fills in.
///
/// # Safety
/// Only for structs of integers and of arrays and unions of them, for which any bytes are a value.
pub(super) unsafe trait Info: Sized {
    fn zeroed() -> Self {
        // SAFETY: all bytes zero are a value of any such struct.
        unsafe { std::mem::zeroed() }
    }
}

// SAFETY: of integers.
unsafe impl Info for bpf_prog_info {}
// SAFETY: of integers.
unsafe impl Info for bpf_link_info {}

/// Attributes that are all zero, which is what the kernel takes for "not given".
pub(super) fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// The whole union is passed: the kernel refuses only bytes that it does not know and that are not zero.
pub(super) fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: `attr` is a bpf_attr of the size given and outlives the call; every address inside it was taken
    // from a buffer that its caller keeps until the call is over.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<bpf_attr>()) };
    i32::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
}

/// For the commands that return a descriptor.
pub(super) fn call_for_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: these commands return a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The descriptor as attributes have it.
pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Fills `info`; returns how many bytes of it this kernel knows. The rest stays as it was.
pub(super) fn info_of<I: Info>(fd: BorrowedFd<'_>, info: &mut I) -> io::Result<usize> {
    let mut attr = zeroed();
    attr.info.bpf_fd = raw(fd);
    attr.info.info_len = size_of::<I>() as u32;
    attr.info.info = (&raw mut *info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: the kernel has written how much it filled in to the member that gave the length.
    Ok(unsafe { attr.info.info_len } as usize)
}

/// Ids of all objects of one sort, by its `BPF_*_GET_NEXT_ID`. An error is the last of the items.
pub(super) fn ids(command: bpf_cmd) -> impl Iterator<Item = io::Result<u32>> {
    let mut last = Some(0);
    std::iter::from_fn(move || {
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = last?;
        match call(command, &mut attr) {
            Ok(_) => {
                // SAFETY: the kernel has written the id there.
                last = Some(unsafe { attr.__bindgen_anon_6.next_id });
                last.map(Ok)
            }
            Err(e) => {
                last = None;
                (e.raw_os_error() != Some(libc::ENOENT)).then_some(Err(e))
            }
        }
    })
}

/// Text that ends at its first zero, as the kernel keeps names.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// [`text`], of the C characters that the kernel's structs have.
pub(super) fn text_of(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().flat_map(|c| c.to_ne_bytes()).collect();
    text(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_zero_or_with_its_room() {
        assert_eq!(text(b"rcuw_entry\0\0old"), "rcuw_entry");
        assert_eq!(text(b"sixteen_letters_"), "sixteen_letters_");
        assert_eq!(text_of(&[0; 16]), "");
    }
}
