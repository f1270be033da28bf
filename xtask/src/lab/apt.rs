//! The system's own package manager, in directories of its own.
//!
//! An isolated apt sees only one release's suites, keeps its lists in our cache, and believes that nothing is
//! installed: it can resolve and download, and cannot alter the system. Mirrors (see `mirror`), proxies and keys are the
//! system's; signatures are checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::matrix::Release;
use super::mirror::Mirrors;
use crate::process::{on_path, output};
use crate::{cache, process};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package of an exact version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    /// `None`: any, so the newest.
    pub version: Option<String>,
}

impl Package {
    /// The same of any version.
    pub(crate) fn of_any_version(self) -> Self {
        Self { version: None, ..self }
    }
}

/// One release's packages.
pub(crate) struct Apt {
    config: PathBuf,
}

impl Apt {
    /// With fresh lists.
    pub(crate) fn open(release: &Release) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb", "tar"] {
            if !on_path(program) {
                bail!("{program} is not here; kernels are fetched on Debian and its derivatives only");
            }
        }
        let root = cache::dir("apt")?.join(release.name);
        for dir in ["lists/partial", "cache/archives/partial"] {
            cache::create_dir(&root.join(dir))?;
        }
        fs::write(root.join("status"), "")?;
        fs::write(
            root.join("sources.list"),
            sources(release, &Mirrors::find()?, Path::new(KEYRING).exists()),
        )?;
        let config = root.join("apt.conf");
        fs::write(&config, configuration(&root))?;
        let apt = Self { config };
        output(apt.command("apt-get").args(["-q", "update"]))
            .with_context(|| format!("cannot read the package lists of {}", release.name))?;
        Ok(apt)
    }

    /// What the newest version of a package depends on; first of each set of alternatives.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<Package>> {
        let text = output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let lines = text.lines().filter_map(dependencies);
        Ok(lines.flat_map(|line| line.split(',')).filter_map(parse_dependency).collect())
    }

    /// A package and everything that it needs of the given kind, each once.
    pub(crate) fn closure(&self, root: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Package>> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut todo = vec![Package { name: root.to_owned(), version: None }];
        while let Some(package) = todo.pop() {
            if seen.insert(package.name.clone()) {
                todo.extend(self.depends(&package.name)?.into_iter().filter(|p| wanted(&p.name)));
                found.push(package);
            }
        }
        Ok(found)
    }

    /// Downloads into a directory and says where the files are.
    pub(crate) fn download(&self, packages: &[Package], to: &Path) -> Result<Vec<PathBuf>> {
        cache::create_dir(to)?;
        let names = packages.iter().map(|Package { name, version }| match version {
            Some(version) => format!("{name}={version}"),
            None => name.clone(),
        });
        output(self.command("apt-get").current_dir(to).args(["-q", "download"]).args(names))?;
        packages_in(to)
    }

    /// Downloads a package and all that it depends on, as if nothing were installed.
    pub(crate) fn download_installable(&self, package: &str, to: &Path) -> Result<Vec<PathBuf>> {
        let archives = to.join("archives");
        cache::create_dir(&archives.join("partial"))?;
        let cache = format!("Dir::Cache={}", to.display());
        let options = ["-q", "-y", "--download-only", "--no-install-recommends", "-o"];
        output(self.command("apt-get").args(options).arg(cache).args(["install", package]))?;
        packages_in(&archives)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).env("LC_ALL", "C");
        command
    }
}

fn packages_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "deb")).collect())
}

/// Unpacks a whole package.
pub(crate) fn unpack(package: &Path, to: &Path) -> Result<()> {
    cache::create_dir(to)?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(to))
}

/// Unpacks the files that match one of tar's patterns, if there are any.
pub(crate) fn unpack_matching(package: &Path, pattern: &str, to: &Path) -> Result<()> {
    cache::create_dir(to)?;
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let stdout = archive.stdout.take().context("dpkg-deb has no standard output")?;
    // tar fails where nothing matches, and reads its input to the end all the same.
    Command::new("tar")
        .args(["-x", "--wildcards", "-C"])
        .arg(to)
        .arg(pattern)
        .stdin(stdout)
        .stderr(Stdio::null())
        .status()
        .context("cannot run tar")?;
    if !archive.wait()?.success() {
        bail!("cannot unpack {}; remove it and try again", package.display());
    }
    Ok(())
}

/// What a line of a package's description says of others that it needs, the usual way or even to be unpacked.
fn dependencies(line: &str) -> Option<&str> {
    line.strip_prefix("Depends:").or_else(|| line.strip_prefix("Pre-Depends:"))
}

/// `linux-image-6.1.0-56-amd64 (= 6.1.192-2)`: the name, and the version where it is exact.
fn parse_dependency(text: &str) -> Option<Package> {
    let first = text.split('|').next()?.trim();
    let (name, rest) = first.split_once(' ').unwrap_or((first, ""));
    let version = rest.trim().strip_prefix("(= ").and_then(|rest| rest.strip_suffix(')'));
    let name = name.split(':').next()?;
    (!name.is_empty()).then(|| Package { name: name.to_owned(), version: version.map(str::to_owned) })
}

fn sources(release: &Release, mirrors: &Mirrors, has_keyring: bool) -> String {
    let signed_by = if has_keyring { format!(" signed-by={KEYRING}") } else { String::new() };
    let mut text = String::new();
    for &(archive, suite) in release.suites {
        let mirror = mirrors.of(archive);
        text.push_str(&format!("deb [arch=amd64{signed_by}] {mirror} {suite} main\n"));
    }
    text
}

/// Read after the system's own configuration, so that its proxies stay and its hooks go.
fn configuration(root: &Path) -> String {
    let root = root.display();
    format!(
        "Dir::Etc::sourcelist \"{root}/sources.list\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::State::Lists \"{root}/lists\";\n\
         Dir::State::status \"{root}/status\";\n\
         Dir::Cache \"{root}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::matrix::BOOKWORM;
    use super::*;

    #[test]
    fn a_release_gets_a_line_for_each_suite_and_keeps_signature_checks() {
        let text = sources(&BOOKWORM, &Mirrors::example(), true);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.contains("signed-by=") && !line.contains("trusted")));
        assert!(text.contains(" https://mirror.example/debian-security bookworm-security main\n"), "{text}");
    }

    #[test]
    fn a_dependency_keeps_its_exact_version_only() {
        let exact = parse_dependency(" linux-image-6.1.0-56-amd64 (= 6.1.192-2)").unwrap();
        assert_eq!(
            (exact.name.as_str(), exact.version.as_deref()),
            ("linux-image-6.1.0-56-amd64", Some("6.1.192-2"))
        );
        let loose = parse_dependency("linux-kbuild-6.1 (>= 6.1.192-2) | other").unwrap();
        assert_eq!((loose.name.as_str(), loose.version), ("linux-kbuild-6.1", None));
        assert_eq!(parse_dependency(""), None);
    }
}
