//! The generated pages say what the code says.

use rcu_watch::core::model::guarded;
use rcu_watch::core::rules::explain;

const REMEDY: &str = "run `cargo xtask model --docs`";

#[test]
fn the_page_of_rules_is_the_rules_own_text() {
    assert!(include_str!("../../../docs/rules.md") == explain::markdown(), "{REMEDY}");
}

#[test]
fn the_page_of_guards_is_the_models_answer() {
    assert!(include_str!("../../../docs/guards.md") == guarded::markdown(), "{REMEDY}");
}
