//! What the host and the guest of the lab must agree on: the plan that goes in with the initramfs, and the
//! frames that come out over the second serial port.
//!
//! Only this half is linked into the guest's PID 1, so it has no dependencies.

pub mod plan;
pub mod wire;
