//! `rcu-watch top`: a live picture of each CPU, fed by the same stream and records as every sink.
//!
//! ```text
//! stream, records -> Picture (pure) -> draw (pure) -> terminal thread, ten times a second
//!                                        keys -> View <-/
//! ```
//!
//! The terminal has a thread of its own, so that a slow serial line never holds up the ring buffer. It ends by
//! making the sink say that its reader went away, which is how every run learns that nobody looks any more.

mod draw;
mod picture;
pub mod replay;
pub(crate) mod screen;
mod shared;
pub mod sink;
mod strip;
pub mod view;

pub use draw::draw;
pub use picture::Picture;
pub use sink::Top;
pub use view::View;
