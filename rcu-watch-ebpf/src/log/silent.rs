//! For programs that do not log: hits that came to nothing are counted, and that is all.

pub(crate) fn unstable(_probe: u32, _block: u64) {}

pub(crate) fn lost(_probe: u32, _probe_seq: u64) {}
