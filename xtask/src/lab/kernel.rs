//! Stock kernels: from the archive into the cache, and out of the cache while they are fresh.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::apt::{Apt, unpack_matching};
use super::image::{Image, Unavailable};
use super::legacy;
use super::matrix::{self, Kernel, Source};
use crate::cache;
use crate::process::say;

/// After this long the archive is asked again: suites move, and an old image's headers vanish from them.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// A kernel by name, or a file.
pub(crate) fn find(name: &str) -> Result<Image> {
    if let Some(kernel) = matrix::find(name) {
        return fetch(kernel)
            .map_err(|error| Unavailable { kernel: name.to_owned(), why: format!("{error:#}") }.into());
    }
    if name == legacy::NAME {
        return legacy::find();
    }
    let vmlinuz = PathBuf::from(name);
    if !vmlinuz.is_file() {
        bail!("no kernel {name}; give {}|{} or the path of a bzImage", matrix::names(), legacy::NAME);
    }
    let file = vmlinuz.file_name().unwrap_or_default().to_string_lossy();
    let release = file.strip_prefix("vmlinuz-").unwrap_or(&file).to_owned();
    Ok(Image { name: name.to_owned(), release, vmlinuz, known: None })
}

fn fetch(kernel: &'static Kernel) -> Result<Image> {
    let dir = cache::dir("kernels")?.join(kernel.name);
    let cached = cached(kernel, &dir);
    if let Some((image, true)) = cached {
        return Ok(image);
    }
    let mut why = Vec::new();
    for source in kernel.sources {
        match fetch_from(kernel, source, &dir) {
            Ok(image) => return Ok(image),
            Err(error) => why.push(format!("{}: {error:#}", source.release.name)),
        }
    }
    if let Some((image, _)) = cached {
        say(&format!("{} stays at {}: {}", kernel.name, image.release, why.join("; ")));
        return Ok(image);
    }
    bail!("{}", why.join("; "))
}

/// What the cache holds, and whether it is fresh.
fn cached(kernel: &'static Kernel, dir: &Path) -> Option<(Image, bool)> {
    let release = fs::read_to_string(dir.join("release")).ok()?;
    let vmlinuz = dir.join("vmlinuz");
    let age = SystemTime::now().duration_since(fs::metadata(&vmlinuz).ok()?.modified().ok()?);
    let fresh = age.map_or(true, |age| age < FRESH);
    let image = Image {
        name: kernel.name.to_owned(),
        release: release.trim().to_owned(),
        vmlinuz,
        known: Some(kernel),
    };
    Some((image, fresh))
}

fn fetch_from(kernel: &'static Kernel, source: &Source, dir: &Path) -> Result<Image> {
    let apt = Apt::open(source.release)?;
    let packages = apt.closure(source.image, is_image)?;
    let packages: Vec<_> = packages.into_iter().filter(|package| is_image(&package.name)).collect();
    let release = packages
        .iter()
        .find_map(|package| package.name.strip_prefix("linux-image-"))
        .with_context(|| format!("{} depends on no image", source.image))?
        .to_owned();
    say(&format!("fetching stock kernel {release} from {}", source.release.name));
    let scratch = cache::scratch(dir)?;
    let unpacked = scratch.path().join("root");
    let mut vmlinuz = None;
    for package in apt.download(&packages, scratch.path())? {
        // In boot/ of the image's package, or under usr/lib/modules of a package of its own.
        unpack_matching(&package, "*/vmlinuz*", &unpacked)?;
        vmlinuz = vmlinuz.or_else(|| first_file(&unpacked));
    }
    let vmlinuz = vmlinuz.with_context(|| format!("no vmlinuz in the packages of {}", source.image))?;
    cache::create_dir(dir)?;
    // A copy, so that its time is that of the fetch and not of the kernel's build.
    fs::copy(&vmlinuz, dir.join("vmlinuz.new"))?;
    fs::rename(dir.join("vmlinuz.new"), dir.join("vmlinuz"))?;
    fs::write(dir.join("release"), format!("{release}\n"))?;
    cached(kernel, dir).map(|(image, _)| image).context("the cache lost what was just put there")
}

/// `linux-image-VERSION` and, where the image itself is apart, `linux-binary-VERSION`.
fn is_image(package: &str) -> bool {
    ["linux-image-", "linux-binary-"]
        .iter()
        .any(|prefix| package.strip_prefix(prefix).is_some_and(|rest| rest.matches('.').count() >= 2))
}

fn first_file(dir: &Path) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.filter_map(Result::ok).find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { first_file(&path) } else { Some(path) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_packages_are_not_images() {
        assert!(is_image("linux-image-6.1.0-56-amd64"));
        assert!(is_image("linux-binary-7.2.13+deb14-amd64"));
        assert!(!is_image("linux-image-6.12-amd64"));
        assert!(!is_image("linux-base-amd64"));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = find("2.6").unwrap_err().to_string();
        assert!(error.contains("6.12") && error.contains("bzImage"), "{error}");
    }
}
