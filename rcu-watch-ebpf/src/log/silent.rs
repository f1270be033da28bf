//! Nothing is said: it is counted.

pub fn unstable(_probe: u32, _block: u64) {}

pub fn lost(_probe: u32, _probe_seq: u64) {}
