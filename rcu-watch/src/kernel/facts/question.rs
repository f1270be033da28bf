//! What the caller of [`Facts::read`](super::Facts::read) wants to know.

/// The names to look for. Those that the facts themselves are made from are looked for anyway.
#[derive(Clone, Debug)]
pub struct Questions {
    /// Functions and other symbols.
    pub names: Vec<&'static str>,
    /// Functions whose parts (`.part.0`, `.cold`) are wanted with them.
    pub with_parts: &'static [&'static str],
    pub tracepoints: Vec<&'static str>,
    /// Functions whose handlers are kept by name however many functions have handlers.
    pub keeps_handlers: fn(&str) -> bool,
}
