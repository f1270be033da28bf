//! The kernel's own complaints of this class, read from a log: dmesg, a console, pstore, a mailed report.
//!
//! ```text
//! raw line -> what the kernel printed, when, by whom -> whose splat (headline, who, stack) -> rule and function -> finding
//! ```
//!
//! Pure and total: any bytes in, no panic out, and memory bounded by the splats that are open. The hard thing is that a log
//! is no format: lines are quoted, wrapped, interleaved and cut, two CPUs' splats stand in each other, and printing one
//! brings about another.

mod draft;
mod frame;
mod handler;
mod headline;
mod joined;
mod line;
mod live;
mod machinery;
mod parser;
mod parts;
mod report;
mod rule;
mod splat;
mod stall;
mod who;

pub use joined::joined;
pub use live::Live;
pub use parser::Parser;
pub use report::Report;
pub use splat::{Splat, Task};
