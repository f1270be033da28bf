//! A kernel that can be booted, wherever it comes from, and the error where there is none.

use std::fmt;
use std::path::PathBuf;

use super::matrix::Kernel;

/// A kernel is not to be had here, and why. Not a failure of the lab: exit code 4.
#[derive(Debug)]
pub(super) struct Unavailable {
    pub kernel: String,
    pub why: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {} is not to be had: {}", self.kernel, self.why)
    }
}

impl std::error::Error for Unavailable {}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// As it was asked for.
    pub name: String,
    /// `uname -r`, or the file's name where only the file is known.
    pub release: String,
    pub vmlinuz: PathBuf,
    /// The matrix's entry, which knows where its headers are.
    pub known: Option<&'static Kernel>,
}
