//! The modules that are loaded, from `/proc/modules`.
//!
//! `demo 16384 1 other, Live 0xffffffffc0247000 (OE)`: name, size, users, who they are, state, address, taints.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::ops::ControlFlow;

use crate::kernel::read::line::each_line_of;
use crate::kernel::read::mount::Tree;

/// A number that is another one whenever a module came, went, or was loaded anew. A module that is only used by more
/// or fewer others leaves it as it is.
#[must_use]
pub(crate) fn fingerprint(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A kernel without modules has no such file, and never any change.
    let _ = each_line_of(&tree.path("/proc/modules"), |line| {
        let words = line.split(' ').enumerate().filter(|&(at, _)| at == 0 || at > 3);
        words.for_each(|(_, word)| word.hash(&mut hasher));
        ControlFlow::Continue(())
    });
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_used_is_no_change_and_one_that_is_loaded_anew_is() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        let of = |text: &str| {
            std::fs::write(root.path().join("proc/modules"), text).unwrap();
            fingerprint(&Tree::under(root.path()))
        };
        let one = of("demo 16384 0 - Live 0xffffffffc0247000 (OE)\n");
        assert_eq!(of("demo 16384 1 other, Live 0xffffffffc0247000 (OE)\n"), one);
        assert_ne!(of("demo 16384 0 - Live 0xffffffffc0347000 (OE)\n"), one);
        assert_ne!(of("demo 16384 0 - Loading 0xffffffffc0247000 (OE)\n"), one);
        assert_ne!(of(""), one);
    }
}
