//! How the kernel was configured: /proc/config.gz of the running kernel itself, or the copy that its package brought.
//!
//! An option that is off has a line that says so, where the kernel has the option at all and what it depends on is on:
//! that an option is absent tells something, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::kernel::read::line::each_line;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;

/// The options that were asked for, as far as the configuration has them: whether each is built in.
pub(crate) type Options<'a> = BTreeMap<&'a str, bool>;

/// Looks for `options` in the configuration of the running kernel, whose release is `release`.
///
/// # Errors
/// That no configuration is there, or none can be read.
pub(crate) fn read<'a>(tree: &Tree, release: &str, options: &[&'a str]) -> Result<Options<'a>, Reason> {
    let places = [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ];
    let mut closed = None;
    for place in places {
        let path = tree.path(&place);
        let found = match File::open(&path) {
            Ok(file) if place.ends_with(".gz") => search(GzDecoder::new(file), options),
            Ok(file) => search(file, options),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => closed = closed.or_else(|| Some(Reason::unreadable(Path::new(&place), &error))),
        }
    }
    Err(closed.unwrap_or_else(|| {
        Reason::with_remedy(
            "the configuration of this kernel is neither in /proc/config.gz nor in /boot",
            "modprobe configs, or install the kernel's package",
        )
    }))
}

fn search<'a>(source: impl Read, options: &[&'a str]) -> std::io::Result<Options<'a>> {
    let mut found = Options::new();
    each_line(source, |line| {
        let (name, is_on) = match line.strip_prefix("# ") {
            Some(rest) => (rest.strip_suffix(" is not set"), false),
            None => (line.strip_suffix("=y"), true),
        };
        if let Some(&option) = options.iter().find(|&&option| name == Some(option)) {
            found.insert(option, is_on);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &str = "# Linux/x86 6.12.0 Kernel Configuration\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n\
                        CONFIG_AB=y\nCONFIG_D=\"y\"\n";
    const ASKED: [&str; 4] = ["CONFIG_A", "CONFIG_B", "CONFIG_C", "CONFIG_D"];

    #[test]
    fn an_option_is_built_in_off_or_absent() {
        let found = search(TEXT.as_bytes(), &ASKED).unwrap();
        assert_eq!(found, BTreeMap::from([("CONFIG_A", true), ("CONFIG_B", false)]));
    }

    #[test]
    fn the_running_kernels_own_word_comes_before_a_file_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::under(directory.path());
        let no = read(&tree, "6.12", &ASKED).unwrap_err();
        assert!(no.to_string().contains("; modprobe configs"), "{no}");
        fs::create_dir(directory.path().join("boot")).unwrap();
        fs::write(directory.path().join("boot/config-6.12"), TEXT).unwrap();
        assert_eq!(read(&tree, "6.12", &ASKED).unwrap().get("CONFIG_A"), Some(&true));
        fs::create_dir(directory.path().join("proc")).unwrap();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"# CONFIG_A is not set\n").unwrap();
        fs::write(directory.path().join("proc/config.gz"), packed.finish().unwrap()).unwrap();
        assert_eq!(read(&tree, "6.12", &ASKED).unwrap(), BTreeMap::from([("CONFIG_A", false)]));
    }

    #[test]
    fn a_broken_file_is_passed_over_and_said_where_there_is_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::under(directory.path());
        fs::create_dir(directory.path().join("proc")).unwrap();
        fs::write(directory.path().join("proc/config.gz"), "no gzip").unwrap();
        assert!(read(&tree, "6.12", &ASKED).unwrap_err().why.starts_with("/proc/config.gz cannot be read"));
        fs::create_dir(directory.path().join("boot")).unwrap();
        fs::write(directory.path().join("boot/config-6.12"), TEXT).unwrap();
        assert!(read(&tree, "6.12", &ASKED).is_ok());
    }
}
