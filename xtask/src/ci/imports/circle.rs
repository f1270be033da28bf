//! Files that need each other.
//!
//! A module's root and what is below it do not count: the one is the other's face.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::tree::{Arrow, Module, Tree};

type Arrows<'a> = BTreeMap<&'a Module, BTreeMap<&'a Module, usize>>;

/// For every file that is in a circle the shortest one, each circle once, with the line of each of its steps.
pub(super) fn circles(tree: &Tree) -> Vec<String> {
    let all = tree.arrows();
    let mut arrows = Arrows::new();
    for Arrow { from, to, line, .. } in &all {
        if !from.starts_with(to) && !to.starts_with(from) {
            arrows.entry(from).or_default().entry(to).or_insert(*line);
        }
    }
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for file in arrows.keys() {
        let Some(circle) = shortest(&arrows, file) else { continue };
        if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
            circles.push(shown(tree, &arrows, &circle));
        }
    }
    circles
}

/// From a file back to it, without the file itself at the end.
fn shortest<'a>(arrows: &Arrows<'a>, file: &'a Module) -> Option<Vec<&'a Module>> {
    let mut by: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for &to in arrows.get(at).into_iter().flat_map(BTreeMap::keys) {
            if to == file {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|last| by.get(last)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            by.entry(to).or_insert_with(|| {
                next.push_back(to);
                at
            });
        }
    }
    None
}

fn shown(tree: &Tree, arrows: &Arrows, circle: &[&Module]) -> String {
    let steps = circle.iter().zip(circle.iter().cycle().skip(1)).map(|(from, to)| {
        let line = arrows.get(*from).and_then(|arrows| arrows.get(*to)).copied().unwrap_or_default();
        format!("{}:{line}: names {}", tree.file(from).display(), super::tree::shown(to))
    });
    format!("a circle of {} files:\n    {}", circle.len(), steps.collect::<Vec<_>>().join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    #[test]
    fn each_circle_is_told_once_with_the_lines_that_make_it() {
        let tree = tree(&[
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "\nuse crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", "use crate::a::A;\nuse crate::d::D;"),
            ("d", ""),
        ]);
        let expected = "a circle of 3 files:\n    src/a.rs:2: names b\n    src/b.rs:1: names c\n    \
                        src/c.rs:1: names a";
        assert_eq!(circles(&tree), [expected]);
    }

    #[test]
    fn a_root_and_its_children_may_name_each_other_and_hide_no_circle() {
        let face = [("", "mod a; mod b;"), ("a", "mod c;\npub use c::C;\nfn f(c: c::C) {}"), ("b", "")];
        let with = |c: &str, b: &str| {
            let mut files = face.to_vec();
            files.push(("a::c", c));
            files[2].1 = b;
            circles(&tree(&files.iter().map(|&(module, text)| (module, text)).collect::<Vec<_>>())).len()
        };
        assert_eq!(with("use super::f;", ""), 0);
        assert_eq!(with("use crate::b::B;", ""), 0);
        // `C` is written in `c`, whoever hands it on.
        assert_eq!(with("use crate::b::B;", "use crate::a::C;"), 1);
    }
}
