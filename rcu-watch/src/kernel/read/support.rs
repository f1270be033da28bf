//! The answers that a kernel gives: yes, or no with the reason.
//!
//! That a source cannot be read does not mean that what it would list is absent. [`Support`] is for what a kernel can do, [`Listing`] for
//! the lists of names it publishes, and both carry what stood in the way and what to do about it.

use std::collections::BTreeSet;
use std::{fmt, io};

/// Why something is not there, or cannot be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub why: String,
    /// What would change it, where something would.
    pub remedy: Option<String>,
}

impl Reason {
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: None }
    }

    #[must_use]
    pub fn with_remedy(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: Some(remedy.into()) }
    }

    /// For a file of the kernel that could not be read.
    #[must_use]
    pub fn unreadable(path: &std::path::Path, error: &io::Error) -> Self {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::with_remedy(format!("{path} is closed to this process"), "run as root")
            }
            io::ErrorKind::NotFound => Self::new(format!("there is no {path}")),
            _ => Self::new(format!("{path} cannot be read: {error}")),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "{}; {remedy}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Whether this kernel, with these privileges, can do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    No(Reason),
}

impl Support {
    #[must_use]
    pub fn no(why: impl Into<String>) -> Self {
        Self::No(Reason::new(why))
    }

    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }

    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Yes => None,
            Self::No(reason) => Some(reason),
        }
    }

    /// `self` where it is a no, else what `other` says.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes => other(),
            no @ Self::No(_) => no,
        }
    }
}

/// A list of names that the kernel publishes, cut down to the names that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    Known(BTreeSet<String>),
    Unknown(Reason),
}

impl Listing {
    /// `None` where the list could not be read.
    #[must_use]
    pub fn contains(&self, name: &str) -> Option<bool> {
        match self {
            Self::Known(names) => Some(names.contains(name)),
            Self::Unknown(_) => None,
        }
    }

    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }
}
