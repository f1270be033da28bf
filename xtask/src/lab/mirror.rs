//! Where Debian's archives are: the mirrors of the system that we run on.
//!
//! apt itself lists its sources, so that one-line lists, deb822 sources, and those that are switched off are read as
//! apt reads them, and before any list was ever fetched. The hard thing is a source of somebody else whose address ends
//! in `debian`, too. A suite that the system does not name (an older release, unstable) is fetched from the same mirror.
//! A system of another distribution has no mirror of Debian, and must be told of one.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::matrix::Archive;
use crate::process::output;

/// Names a mirror of the main archive in place of the system's.
const VARIABLE: &str = "RCU_WATCH_DEBIAN_MIRROR";

/// One address for each archive, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
}

impl Mirrors {
    /// The one that the environment names, or else the system's own.
    pub(crate) fn find() -> Result<Self> {
        if let Some(mirror) = env::var_os(VARIABLE).filter(|mirror| !mirror.is_empty()) {
            return named(&mirror);
        }
        of_sources(&apt_sources(&[])?)
    }

    pub(crate) fn of(&self, archive: Archive) -> &str {
        match archive {
            Archive::Main => &self.main,
            Archive::Security => &self.security,
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        of_sources("https://mirror.example/debian/ bookworm\n").unwrap()
    }
}

fn named(mirror: &OsStr) -> Result<Mirrors> {
    let mirror = mirror.to_str().map(|mirror| mirror.trim_end_matches('/'));
    let mirror = mirror.filter(|mirror| mirror.contains(':') && !mirror.contains(char::is_whitespace));
    let main = mirror.with_context(|| {
        format!("{VARIABLE} is no address; set it to one such as https://HOST/debian, or unset it")
    })?;
    Ok(Mirrors { main: main.to_owned(), security: beside(main) })
}

/// The system's sources in their order, a line for each suite or more: `MIRROR/ SUITE`.
fn apt_sources(options: &[String]) -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(options.iter().flat_map(|option| ["-o", option.as_str()]));
    // Without the archives' own word on what they hold, which is not here before lists were fetched.
    let listing = ["indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE)"];
    output(command.args(listing).env("LC_ALL", "C")).with_context(|| {
        format!(
            "cannot read the system's package sources; mend them, or set {VARIABLE} to a mirror of Debian"
        )
    })
}

fn of_sources(sources: &str) -> Result<Mirrors> {
    let sources: Vec<(&str, &str)> = sources
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(mirror, suite)| (mirror.trim_end_matches('/'), suite))
        .collect();
    let first = |archive: Archive| {
        let mirrors = || sources.iter().filter(|(mirror, _)| is_of(mirror, archive));
        // Only Debian has a suite of updates beside a release. A system of unstable names none: the first will do there.
        let (mirror, _) =
            mirrors().find(|(_, suite)| suite.ends_with("-updates")).or_else(|| mirrors().next())?;
        Some((*mirror).to_owned())
    };
    let main = first(Archive::Main).with_context(|| {
        format!(
            "the system's package sources name no mirror of Debian; set {VARIABLE} to one, such as \
             https://HOST/debian"
        )
    })?;
    let security = first(Archive::Security).unwrap_or_else(|| beside(&main));
    Ok(Mirrors { main, security })
}

/// Mirrors end in the archive's name; a file with a list of mirrors (`mirror+file:`) is called after it.
fn is_of(mirror: &str, archive: Archive) -> bool {
    let last = mirror.rsplit('/').next().unwrap_or(mirror);
    last.strip_suffix(".list").unwrap_or(last) == archive.directory()
}

/// A mirror that carries both archives has security's beside the main one.
fn beside(main: &str) -> String {
    match main.strip_suffix(".list") {
        Some(main) => format!("{main}-security.list"),
        None => format!("{main}-security"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::process::on_path;

    /// What apt makes of sources in a directory: `sources.list` and all that is in `sources.list.d`.
    fn read_by_apt(etc: &Path) -> Result<Mirrors> {
        let own = |item: &str, path: &str| format!("{item}={}", etc.join(path).display());
        let sources = apt_sources(&[
            own("Dir::Etc::sourcelist", "sources.list"),
            own("Dir::Etc::sourceparts", "sources.list.d"),
            own("Dir::State::lists", "lists"),
        ])?;
        of_sources(&sources)
    }

    fn etc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        for directory in ["sources.list.d", "lists/partial"] {
            fs::create_dir_all(etc.path().join(directory)).unwrap();
        }
        for (file, text) in files {
            fs::write(etc.path().join(file), text).unwrap();
        }
        etc
    }

    #[test]
    fn both_formats_of_the_systems_sources_are_read() {
        if !on_path("apt-get") {
            eprintln!("skipped: apt-get is not here, and no kernel can be fetched");
            return;
        }
        let list = "deb [arch=amd64] https://mirror.example/debian bookworm main\n\
                    deb https://mirror.example/debian bookworm-updates main\n\
                    deb https://safe.example/pub/debian-security bookworm-security main\n\
                    deb https://other.example/apt stable main\n";
        let deb822 = "Types: deb\nURIs: https://off.example/debian\nSuites: bookworm\nComponents: main\n\
                      Enabled: no\n\nTypes: deb\nURIs: https://mirror.example/debian/\n\
                      Suites: bookworm bookworm-updates\nComponents: main\n\n\
                      Types: deb\nURIs: https://safe.example/pub/debian-security/\n\
                      Suites: bookworm-security\nComponents: main\n";
        let theirs = "deb https://else.example/linux/debian bookworm stable\n";
        for (file, text) in [
            ("sources.list", list),
            ("sources.list.d/debian.list", list),
            ("sources.list.d/debian.sources", deb822),
        ] {
            for other in ["sources.list.d/before.list", "sources.list.d/else.list"] {
                let mirrors = read_by_apt(etc(&[(file, text), (other, theirs)]).path()).unwrap();
                let seen = (mirrors.of(Archive::Main), mirrors.of(Archive::Security));
                let own = ("https://mirror.example/debian", "https://safe.example/pub/debian-security");
                assert_eq!(seen, own, "{file} and {other}");
            }
        }
    }

    #[test]
    fn a_system_without_a_mirror_of_debian_is_told_what_to_set() {
        for sources in
            ["", "https://archive.example/ubuntu/ noble\nhttps://archive.example/ubuntu/ noble-updates\n"]
        {
            let error = of_sources(sources).unwrap_err().to_string();
            assert!(error.contains("; set RCU_WATCH_DEBIAN_MIRROR to"), "{error}");
        }
    }

    #[test]
    fn the_security_archive_is_beside_the_main_one_where_the_system_names_none() {
        for (main, security) in [
            ("https://mirror.example/debian", "https://mirror.example/debian-security"),
            ("mirror+file:/etc/apt/mirrors/debian.list", "mirror+file:/etc/apt/mirrors/debian-security.list"),
        ] {
            let mirrors = of_sources(&format!("{main}/ sid\n")).unwrap();
            assert_eq!((mirrors.of(Archive::Main), mirrors.of(Archive::Security)), (main, security));
        }
    }

    #[test]
    fn a_named_mirror_is_an_address() {
        let mirrors = named(OsStr::new("https://mirror.example/pub/debian/")).unwrap();
        assert_eq!(mirrors.of(Archive::Main), "https://mirror.example/pub/debian");
        assert_eq!(mirrors.of(Archive::Security), "https://mirror.example/pub/debian-security");
        for wrong in ["mirror.example", "https://one.example/debian https://two.example/debian"] {
            assert!(named(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }
}
