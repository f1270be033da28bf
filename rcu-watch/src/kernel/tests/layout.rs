//! The four captured layouts, those of kernels that are not in the lab, and the refusals.

use rcu_watch_common::config::StateLayout;
use rcu_watch_core::model::generation::Generation;

use super::facts;
use crate::kernel::facts::layout::{Layout, LayoutError, find};
use crate::kernel::read::btf::{FoundTypes, Member};
use crate::kernel::read::symbol::{FoundSymbols, Symbol};

fn found(object: &str, members: [(&str, u32, u32); 3]) -> FoundTypes {
    let mut found = FoundTypes::default();
    found.structs.insert(object.to_owned());
    let members = members
        .map(|(name, offset_bytes, size_bytes)| (name.to_owned(), Member { offset_bytes, size_bytes }));
    found.members.insert(object.to_owned(), members.into());
    found
}

fn symbols(names: &[&str]) -> FoundSymbols {
    let symbol = |(index, name): (usize, &&str)| {
        let address = 0x1000 * (index as u64 + 1);
        ((*name).to_owned(), Symbol { address, ..Symbol::default() })
    };
    FoundSymbols { symbols: names.iter().enumerate().map(symbol).collect(), hidden: false }
}

const PER_CPU: [&str; 2] = ["__per_cpu_offset", "__preempt_count"];

fn dynticks(nesting: u32, nmi_nesting_bytes: u32) -> [(&'static str, u32, u32); 3] {
    [
        ("dynticks_nesting", nesting, 8),
        ("dynticks_nmi_nesting", nesting + 8, nmi_nesting_bytes),
        ("dynticks", nesting + 8 + nmi_nesting_bytes, 4),
    ]
}

fn find_with(object: &str, members: [(&str, u32, u32); 3], also: &[&str]) -> Result<Layout, LayoutError> {
    let names: Vec<_> = PER_CPU.iter().chain(&[object]).chain(also).copied().collect();
    find(&found(object, members), &symbols(&names))
}

#[test]
fn the_stock_kernels_have_the_layouts_that_they_had_when_they_ran() {
    let four_bytes = StateLayout {
        nmi_mask: 0xf0_0000,
        hardirq_mask: 0xf_0000,
        preempt_count_bytes: 4,
        ..StateLayout::default()
    };
    let context_tracking = StateLayout {
        state_offset: 0,
        nesting_offset: 8,
        nmi_nesting_offset: 16,
        rest_mask: 7,
        rest_state: 4,
        ..four_bytes
    };
    let expected = [
        (
            "5.10",
            Generation::G2,
            StateLayout {
                per_cpu_offset: 0xffff_ffff_9798_5940,
                block: 0x34940 + 0xf0,
                preempt_count: 0x1fb80,
                state_offset: 16,
                nesting_offset: 0,
                nmi_nesting_offset: 8,
                rest_mask: 2,
                rest_state: 2,
                ..four_bytes
            },
        ),
        (
            "6.1",
            Generation::G4,
            StateLayout {
                per_cpu_offset: 0xffff_ffff_9f81_cb60,
                block: 0x2dbe8,
                preempt_count: 0x1fb40,
                ..context_tracking
            },
        ),
        (
            "6.12",
            Generation::G5,
            StateLayout {
                per_cpu_offset: 0xffff_ffff_865e_8e20,
                block: 0x30ba8,
                preempt_count: 0x351c8,
                ..context_tracking
            },
        ),
        (
            "7.2",
            Generation::G5,
            StateLayout {
                per_cpu_offset: 0xffff_ffff_8bb3_80e0,
                block: 0xffff_ffff_8ce3_8768,
                preempt_count: 0xffff_ffff_8ce2_4030,
                ..context_tracking
            },
        ),
    ];
    for (kernel, generation, state) in expected {
        let layout = facts(kernel).layout.unwrap();
        assert_eq!(layout.generation, generation, "{kernel}");
        assert_eq!(layout.for_programs(), Ok(state), "{kernel}");
        assert_eq!(state.is_usual(), kernel != "5.10", "{kernel}");
    }
}

#[test]
fn rcu_data_without_the_special_bit_is_of_5_15() {
    let layout = find_with("rcu_data", dynticks(240, 8), &[]).unwrap();
    assert_eq!(layout.generation, Generation::G3);
    assert_eq!((layout.state.rest_mask, layout.state.rest_state), (1, 1));
    let layout = find_with("rcu_data", dynticks(240, 8), &["rcu_eqs_special_set"]).unwrap();
    assert_eq!(layout.generation, Generation::G2);
}

#[test]
fn rcu_dynticks_is_of_4_19_or_older_by_the_width_of_m() {
    let layout = find_with("rcu_dynticks", dynticks(0, 8), &["rcu_eqs_special_set"]).unwrap();
    assert_eq!(layout.generation, Generation::G1);
    assert!(layout.for_programs().is_ok());
    let layout = find_with("rcu_dynticks", dynticks(0, 4), &["rcu_eqs_special_set"]).unwrap();
    assert_eq!(layout.generation, Generation::G0b);
    assert_eq!(layout.for_programs(), Err(LayoutError::TooOld(Generation::G0b)));
    let layout = find_with("rcu_dynticks", dynticks(0, 4), &[]).unwrap();
    assert_eq!(layout.generation, Generation::G0a);
}

#[test]
fn context_tracking_without_user_tracking_starts_with_s() {
    let members = [("state", 0, 4), ("nesting", 8, 8), ("nmi_nesting", 16, 8)];
    let layout = find_with("context_tracking", members, &[]).unwrap();
    assert_eq!(layout.generation, Generation::G5);
    assert_eq!(layout.state.block, 0x3000);
}

#[test]
fn an_eight_byte_preempt_count_has_its_bits_elsewhere() {
    let mut found = found("context_tracking", [("state", 8, 4), ("nesting", 16, 8), ("nmi_nesting", 24, 8)]);
    found.variables.insert("__preempt_count".to_owned(), 8);
    let layout =
        find(&found, &symbols(&["__per_cpu_offset", "__preempt_count", "context_tracking"])).unwrap();
    assert_eq!((layout.state.nmi_mask, layout.state.hardirq_mask), (0xf000_0000, 0x0f00_0000));
    assert_eq!(layout.state.preempt_count_bytes, 8);
}

#[test]
fn a_context_tracking_of_before_6_0_is_passed_by() {
    let mut found = found("rcu_data", dynticks(240, 8));
    found.structs.insert("context_tracking".to_owned());
    found.members.insert(
        "context_tracking".to_owned(),
        [("state".to_owned(), Member { offset_bytes: 8, size_bytes: 4 })].into(),
    );
    let names =
        ["__per_cpu_offset", "__preempt_count", "rcu_data", "rcu_eqs_special_set", "context_tracking"];
    assert_eq!(find(&found, &symbols(&names)).unwrap().generation, Generation::G2);
}

#[test]
fn an_unknown_layout_says_what_was_looked_for_and_what_was_found() {
    let members = [("state", 8, 4), ("nesting", 16, 8), ("depth", 24, 8)];
    let refusal = find_with("context_tracking", members, &[]).unwrap_err().to_string();
    assert!(refusal.contains("context_tracking.{state, nesting, nmi_nesting}"), "{refusal}");
    assert!(refusal.contains("found context_tracking.{depth, nesting, state}"), "{refusal}");
}

#[test]
fn words_that_one_block_does_not_hold_are_refused() {
    let members = [("state", 0, 4), ("nesting", 8, 8), ("nmi_nesting", 32, 8)];
    assert_eq!(
        find_with("context_tracking", members, &[]),
        Err(LayoutError::Apart { object: "context_tracking", span: 40 })
    );
}

#[test]
fn a_word_of_another_size_is_refused() {
    let members = [("state", 0, 8), ("nesting", 8, 8), ("nmi_nesting", 16, 8)];
    let refusal = find_with("context_tracking", members, &[]).unwrap_err();
    assert!(matches!(refusal, LayoutError::Size { member: "state", bytes: 8, expected: 4, .. }));
}

#[test]
fn hidden_and_missing_addresses_are_told_apart() {
    let members = [("state", 0, 4), ("nesting", 8, 8), ("nmi_nesting", 16, 8)];
    let found = found("context_tracking", members);
    let mut hidden = symbols(&["__per_cpu_offset", "__preempt_count", "context_tracking"]);
    hidden.hidden = true;
    assert_eq!(find(&found, &hidden), Err(LayoutError::Hidden));
    let text_only = symbols(&["__per_cpu_offset"]);
    assert_eq!(find(&found, &text_only), Err(LayoutError::Symbol("context_tracking")));
    let per_task = symbols(&["__per_cpu_offset", "context_tracking"]);
    assert_eq!(find(&found, &per_task), Err(LayoutError::PreemptCountPerTask));
}
