//! Debian's bpftrace for the guest, with the scripts that it is measured with: what people would use instead.

use anyhow::Result;

use crate::lab::clients::{self, BPFTRACE};
use crate::lab::initramfs::{Extra, ExtraContent};
use crate::lab::matrix::BOOKWORM;

/// The scripts, as they are for kernels from 6.12 on.
const QUIET: &str = include_str!("../../../bench/quiet.bt");
const ALL: &str = include_str!("../../../bench/all.bt");

/// Where the guest finds the scripts.
pub(super) const QUIET_PATH: &str = "lab/quiet.bt";
pub(super) const ALL_PATH: &str = "lab/all.bt";

/// bpftrace, its libraries, and the scripts with the names that `kernel` gives to the words.
pub(super) fn files(kernel: &str) -> Result<Vec<Extra>> {
    let mut files = clients::files(&BOOKWORM, &[BPFTRACE])?;
    for (path, script) in [(QUIET_PATH, QUIET), (ALL_PATH, ALL)] {
        files.push(Extra { path: path.into(), content: ExtraContent::Text(for_kernel(script, kernel)) });
    }
    Ok(files)
}

/// Up to 6.11 the members had other names.
fn for_kernel(script: &str, kernel: &str) -> String {
    if kernel != "6.1" {
        return script.to_owned();
    }
    script.replace("->nmi_nesting", "->dynticks_nmi_nesting").replace("->nesting", "->dynticks_nesting")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_gets_its_own_names_of_the_words() {
        let old = for_kernel(QUIET, "6.1");
        assert!(old.contains("->dynticks_nmi_nesting") && !old.contains("->nmi_nesting"));
        assert!(old.contains("->dynticks_nesting") && !old.contains("->nesting"));
        assert_eq!(for_kernel(ALL, "sid"), ALL);
    }
}
