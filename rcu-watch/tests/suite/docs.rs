//! The generated pages say what the code says.

use std::{env, fs};

use rcu_watch_core::model::guarded;
use rcu_watch_core::rules::explain;

const REMEDY: &str = "run `cargo xtask model --docs`";

#[test]
fn the_page_of_rules_is_the_rules_own_text() {
    assert!(include_str!("../../../docs/rules.md") == explain::markdown(), "{REMEDY}");
}

/// With `RCU_WATCH_BLESS=1` it is written anew.
#[test]
fn the_readme_lists_every_rule_in_the_rules_own_words() {
    const MARKS: [&str; 2] =
        ["<!-- rules: from rcu-watch/core/src/rules/explain.rs -->\n", "<!-- end of rules -->"];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(path).expect("it is checked in");
    let (before, rest) = readme.split_once(MARKS[0]).expect("the README marks where the rules begin");
    let (table, after) = rest.split_once(MARKS[1]).expect("the README marks where the rules end");
    let expected = explain::readme_table();
    if env::var_os("RCU_WATCH_BLESS").is_some() {
        fs::write(path, [before, MARKS[0], &expected, MARKS[1], after].concat()).expect("it can be written");
        return;
    }
    assert!(table == expected, "run with RCU_WATCH_BLESS=1");
}

#[test]
fn the_page_of_guards_is_the_models_answer() {
    assert!(include_str!("../../../docs/guards.md") == guarded::markdown(), "{REMEDY}");
}
