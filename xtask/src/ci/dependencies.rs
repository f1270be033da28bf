//! What is depended upon: licences that a static binary may carry, and the walls between the crates.
//!
//! deny.toml is the policy, for cargo-deny as well; this reads its list of licences, so that the check needs nothing but
//! cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::cache;

/// Who must never need whom, however many crates are in between. xtask builds before any set-up, so nothing of it may
/// need the BPF build; the judge takes bytes and time as arguments, and needs nothing of the world; the records on the
/// wire need nobody.
const WALLS: [(&str, &[&str]); 3] = [
    ("xtask", &["rcu-watch", "rcu-watch-ebpf", "aya"]),
    ("rcu-watch-core", &["rcu-watch", "aya", "aya-obj", "tokio", "clap", "libc"]),
    ("rcu-watch-common", &["rcu-watch", "rcu-watch-core", "aya", "libc"]),
];

pub(super) fn check() -> Result<()> {
    let mut command = MetadataCommand::new();
    command.manifest_path(cache::workspace().join("Cargo.toml")).other_options(["--locked".to_owned()]);
    let metadata = command.exec().context("cannot read what is depended upon")?;
    let policy = cache::workspace().join("deny.toml");
    let policy = fs::read_to_string(&policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let allowed = allowed_licences(&policy);
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or_default();
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{} {}: licence {licence:?}", package.name, package.version));
        }
    }
    let graph = Graph::of(&metadata).context("cargo metadata did not resolve the dependencies")?;
    wrong.extend(graph.breaches());
    if wrong.is_empty() { Ok(()) } else { bail!("not allowed:\n{}", wrong.join("\n")) }
}

/// The strings of deny.toml's `allow = [...]`.
fn allowed_licences(policy: &str) -> BTreeSet<&str> {
    let list = policy.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

/// An SPDX expression of AND, OR and parentheses, or the old form with a slash for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // AND binds tighter; with parentheses dropped this is stricter than SPDX, never laxer, for `A OR (B AND C)`.
    !expression.trim().is_empty()
        && expression.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim())))
}

/// The crates by name, each with those that it is built with. What only tests need is left out, and what runs while
/// others build: neither is linked.
struct Graph<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Graph<'a> {
    fn of(metadata: &'a Metadata) -> Option<Self> {
        let name = |id: &PackageId| metadata.packages.iter().find(|p| p.id == *id).map(|p| p.name.as_str());
        let mut crates = BTreeMap::<_, BTreeSet<_>>::new();
        for node in &metadata.resolve.as_ref()?.nodes {
            let linked = node.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            crates.entry(name(&node.id)?).or_default().extend(linked.filter_map(|d| name(&d.pkg)));
        }
        Some(Self(crates))
    }

    fn breaches(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        for (of, never) in WALLS {
            let ways = self.ways(of);
            for on in never.iter().filter(|on| ways.contains_key(**on)) {
                let mut way = vec![*on];
                while let Some(by) = way.last().and_then(|last| ways.get(last)).filter(|by| !by.is_empty()) {
                    way.push(by);
                }
                way.reverse();
                breaches.push(format!("{of} needs {on}: {}", way.join(" -> ")));
            }
        }
        breaches
    }

    /// Every crate that one needs, and which of them needs it first.
    fn ways(&self, of: &'a str) -> BTreeMap<&'a str, &'a str> {
        let mut ways = BTreeMap::from([(of, "")]);
        let mut next = vec![of];
        while let Some(by) = next.pop() {
            for &on in self.0.get(by).into_iter().flatten() {
                ways.entry(on).or_insert_with(|| {
                    next.push(on);
                    by
                });
            }
        }
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policys_list_is_read_and_applied_to_expressions() {
        let allowed = allowed_licences("[licenses]\nallow = [\n  \"MIT\", # short\n  \"Unicode-3.0\",\n]\n");
        assert!(is_allowed("MIT OR Apache-2.0", &allowed));
        assert!(is_allowed("Apache-2.0/MIT", &allowed));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(!is_allowed("MIT AND LGPL-2.1", &allowed));
        assert!(!is_allowed("GPL-2.0-only", &allowed));
        assert!(!is_allowed("", &allowed));
    }

    #[test]
    fn a_wall_is_breached_by_a_crate_in_between_too() {
        let crates = [
            ("xtask", ["anyhow", "rcu-watch-core"].as_slice()),
            ("rcu-watch-core", &["serde", "middle"]),
            ("middle", &["libc"]),
        ];
        let crates = crates.map(|(of, on)| (of, on.iter().copied().collect()));
        let breaches = Graph(crates.into()).breaches();
        assert_eq!(breaches, ["rcu-watch-core needs libc: rcu-watch-core -> middle -> libc"]);
    }
}
