//! The kernel's own complaints of this class, read from a log: dmesg, a console, pstore, a mailed report.
//!
//! ```text
//! line -> clean text and time -> splat (headline, who, stack) -> rule -> finding, as `watch` reports them
//! ```
//!
//! Pure and total: any bytes in, no panic out, and memory bounded by one splat. The hard thing is that a log
//! is no format: lines are quoted, wrapped, interleaved and cut, and two splats may stand in each other.

mod backtrace;
mod joined;
mod line;
mod live;
mod parser;
mod report;
mod rule;
mod splat;
mod stall;

pub use joined::joined;
pub use live::Live;
pub use parser::Parser;
pub use report::Report;
pub use splat::{Splat, Task};
