//! The kernels of the lab and where Debian publishes them: the only place that names suites and packages.

/// Which of Debian's archives a suite is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Main,
    Security,
}

impl Archive {
    /// The last part of a mirror's address.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Main => "debian",
            Self::Security => "debian-security",
        }
    }
}

/// A release's suites, seen by one isolated apt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub name: &'static str,
    pub suites: &'static [(Archive, &'static str)],
}

pub(crate) static BULLSEYE: Release = Release {
    name: "bullseye",
    suites: &[(Archive::Main, "bullseye"), (Archive::Security, "bullseye-security")],
};
pub(crate) static BOOKWORM: Release = Release {
    name: "bookworm",
    suites: &[
        (Archive::Main, "bookworm"),
        (Archive::Main, "bookworm-updates"),
        (Archive::Security, "bookworm-security"),
    ],
};
pub(crate) static TRIXIE: Release = Release {
    name: "trixie",
    suites: &[
        (Archive::Main, "trixie"),
        (Archive::Main, "trixie-updates"),
        (Archive::Security, "trixie-security"),
    ],
};
pub(crate) static SID: Release = Release { name: "sid", suites: &[(Archive::Main, "sid")] };

/// Packages of one kernel in one release.
#[derive(Debug)]
pub(crate) struct Source {
    pub release: &'static Release,
    /// Meta-package that depends on the newest image.
    pub image: &'static str,
}

/// A kernel that the lab knows by name.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub name: &'static str,
    /// First of these that has it.
    pub sources: &'static [Source],
    /// The test command fails without it; a missing other one is a loud skip.
    pub required: bool,
    /// Its modules are built with its suite's own compiler and tools, and not with the system's.
    pub own_compiler: bool,
}

const fn source(release: &'static Release, image: &'static str) -> Source {
    Source { release, image }
}

pub(crate) static KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        sources: &[source(&BULLSEYE, "linux-image-amd64")],
        required: false,
        own_compiler: false,
    },
    Kernel {
        name: "6.1",
        sources: &[source(&BOOKWORM, "linux-image-amd64")],
        required: true,
        own_compiler: false,
    },
    Kernel {
        name: "6.12",
        sources: &[source(&BOOKWORM, "linux-image-6.12-amd64"), source(&TRIXIE, "linux-image-amd64")],
        required: true,
        own_compiler: false,
    },
    Kernel {
        name: "sid",
        sources: &[source(&SID, "linux-image-amd64")],
        required: false,
        own_compiler: true,
    },
];

/// The kernel of that name.
pub(crate) fn find(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.name == name)
}

/// All names, for help and errors.
pub(crate) fn names() -> String {
    KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join("|")
}
