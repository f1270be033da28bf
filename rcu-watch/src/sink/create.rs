//! Files that are written: what others may not read, in the place that was named, and never over what is read.
//!
//! They hold addresses of the kernel, so they are new ones of mode 0600, and a link in the last step of the path is not
//! followed: in a folder that others write to it may lead anywhere. The links of /dev and /proc (`/dev/stdout`) are.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Opens the file, emptied where it was there.
///
/// # Errors
/// Where it cannot be written, or is a link.
pub(crate) fn create(path: &Path) -> Result<File> {
    let name = path.display();
    let is_of_the_kernel = path.starts_with("/dev") || path.starts_with("/proc");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    if !is_of_the_kernel {
        options.custom_flags(libc::O_NOFOLLOW);
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            bail!("{name} is a link, which is not followed; name the file that it leads to");
        }
    }
    options.open(path).with_context(|| format!("cannot create {name}; name a place that can be written"))
}

/// Refuses an output that is the file that is read: it would be gone before it is.
///
/// # Errors
/// Where `output` is the same file as `input`.
pub(crate) fn keep(input: &Path, output: Option<&Path>) -> Result<()> {
    let (Ok(input_is), Some(Ok(output_is))) = (fs::metadata(input), output.map(fs::metadata)) else {
        return Ok(());
    };
    let place = |found: &fs::Metadata| (found.dev(), found.ino());
    if input_is.is_file() && place(&input_is) == place(&output_is) {
        bail!("{} is what is read, and the output would replace it; name another file", input.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_new_file_is_nobody_elses_to_read_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        drop(create(&file).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        assert!(create(&link).unwrap_err().to_string().contains("is a link"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(create(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn what_is_read_is_not_written_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let (input, same) = (folder.path().join("input"), folder.path().join("same"));
        fs::write(&input, "precious").unwrap();
        fs::hard_link(&input, &same).unwrap();
        assert!(keep(&input, Some(&same)).is_err());
        assert!(keep(&input, Some(&folder.path().join("new"))).is_ok());
        assert!(keep(&input, None).is_ok() && keep(Path::new("-"), Some(&same)).is_ok());
        assert!(keep(Path::new("/dev/null"), Some(Path::new("/dev/null"))).is_ok());
    }
}
