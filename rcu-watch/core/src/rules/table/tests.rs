use super::*;
use crate::rules::RuleSet;
use crate::rules::tests::probe;

const MECHANISMS: [Mechanism; 4] =
    [Mechanism::Fentry, Mechanism::KprobeInt3, Mechanism::RawTracepoint, Mechanism::Watchpoint];

#[test]
fn rows_stand_in_the_order_of_their_codes_and_no_name_is_used_twice() {
    for (number, rule) in (1..).zip(RULES) {
        assert_eq!(rule.code, format!("RW{number:03}"));
        assert_eq!(rule.id.row().code, rule.code);
        assert_eq!(RULES.iter().filter(|other| other.name == rule.name).count(), 1, "{}", rule.name);
        assert_eq!(serde_json::to_string(&rule.id).unwrap(), format!("\"{}\"", rule.code));
    }
    assert_eq!(RULES.len(), RuleId::COUNT);
}

#[test]
fn a_rule_goes_by_code_and_name_in_any_case_and_by_nothing_else() {
    for rule in RULES {
        assert_eq!(RuleId::named(&rule.code.to_lowercase()), Some(rule.id));
        assert_eq!(RuleId::named(&rule.name.to_uppercase()), Some(rule.id));
    }
    assert_eq!(RuleId::named(""), None);
}

#[test]
fn every_rule_is_seen_by_some_probe_or_looked_for_so_that_it_can_be_required() {
    for rule in RULES {
        let probes = Point::ALL.iter().flat_map(|&point| MECHANISMS.map(|by| probe(point, by)));
        let is_seen = probes.into_iter().any(|probe| rule.sees(&probe));
        assert_ne!(is_seen, rule.is_looked_for(), "{}", rule.code);
    }
}

#[test]
fn a_set_holds_every_rule_apart_from_the_others() {
    for &rule in RuleId::ALL {
        let mut set = RuleSet::default();
        set.insert(rule);
        assert!(set.iter().eq([rule]));
        assert!(RuleId::ALL.iter().all(|&other| set.contains(other) == (other == rule)));
    }
}
