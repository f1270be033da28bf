//! Kernel memory, as something that can be read: by a BPF program, or in tests from a table.

use std::io;

/// Reads kernel memory. What is read may change while it is read: single aligned words are whole, structs are not.
pub(crate) trait KernelMemory {
    /// The bytes of each place (address, length); `None` where they cannot be read.
    ///
    /// # Errors
    /// Where nothing could be asked at all.
    fn read(&self, places: &[(u64, usize)]) -> io::Result<Vec<Option<Vec<u8>>>>;
}
