//! What is depended upon: licences that a static binary may carry, and the walls between the crates.
//!
//! deny.toml is the policy, for cargo-deny as well; this reads its list of licences, so that the check needs nothing but
//! cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cache;
use crate::process::{cargo, output};

pub fn check() -> Result<()> {
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata printed no JSON")?;
    let policy = cache::workspace().join("deny.toml");
    let policy = fs::read_to_string(&policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let allowed = allowed_licences(&policy);
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{} {}: licence {licence:?}", package["name"], package["version"]));
        }
    }
    wrong.extend(walls(&metadata));
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

/// xtask builds before any set-up, so nothing of it may need the BPF build; the wire's types need nobody.
fn walls(metadata: &Value) -> Vec<String> {
    let none = Vec::new();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap_or(&none);
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let depends = |of: &str, on: &str| {
        nodes.iter().any(|node| {
            let is_it = node["id"].as_str().and_then(|id| names.get(id)) == Some(&of);
            let dependencies = node["dependencies"].as_array().unwrap_or(&none);
            is_it && dependencies.iter().any(|id| id.as_str().and_then(|id| names.get(id)) == Some(&on))
        })
    };
    let walls = [
        ("xtask", "rcu-watch"),
        ("xtask", "rcu-watch-ebpf"),
        ("xtask", "aya"),
        ("rcu-watch-common", "aya"),
        ("rcu-watch-common", "rcu-watch"),
    ];
    walls.iter().filter(|(of, on)| depends(of, on)).map(|(of, on)| format!("{of} depends on {on}")).collect()
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
}
