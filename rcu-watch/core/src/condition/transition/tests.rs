//! Looks at a livepatch, one after another, and what is told of them.

use std::vec;

use super::*;
use crate::report::finding::TaskReport;
use crate::report::patches::{ForcedSource, TaskStates};

const SECOND: u64 = 1_000_000_000;
const STALL_AFTER: u64 = 15;

fn at(second: u64) -> Nanos {
    Nanos(second * SECOND)
}

fn holder(pid: u32, function: Option<&str>) -> Holder {
    let task = TaskReport { pid, tgid: pid, comm: "kworker".to_owned(), idle: false };
    Holder {
        task: Some(task),
        state: "sleeps".to_owned(),
        function: function.map(ToOwned::to_owned),
        ..Holder::default()
    }
}

fn patch(enabled: bool, transition: Option<PatchTransition>) -> PatchesSeen {
    let patch = PatchReport {
        patch: "lp".to_owned(),
        enabled,
        replace: None,
        order: None,
        objects: Vec::new(),
        transition,
        forced: None,
        unknown: Vec::new(),
    };
    PatchesSeen { patches: vec![patch], forced: Vec::new() }
}

fn moving(to_patched: bool, age: u64, holders: &[Holder]) -> PatchesSeen {
    let transition = PatchTransition {
        to_patched,
        age_ns: at(age),
        since: Since::Log,
        stalled: age >= STALL_AFTER,
        tasks: TaskStates::default(),
        sees_all: true,
        holders: holders.to_vec(),
        holding: holders.iter().filter(|holder| holder.task.is_some()).count() as u64,
    };
    patch(to_patched, Some(transition))
}

fn forced(mut seen: PatchesSeen, second: u64) -> PatchesSeen {
    let forced = Forced { ts_ns: at(second), by: ForcedSource::Log, holders: Vec::new() };
    seen.forced.push(("lp".to_owned(), forced));
    seen
}

/// The conditions of each look as rule, severity and reason, and how transitions ended.
fn told(looks: &[(u64, PatchesSeen)]) -> Vec<Vec<String>> {
    let mut transitions = Transitions::default();
    looks
        .iter()
        .map(|(second, seen)| {
            let Judged { conditions, ended } = transitions.look(at(*second), seen);
            let conditions =
                conditions.into_iter().map(|c| format!("{} {}: {}", c.rule.code(), c.severity, c.because));
            let ended = ended.into_iter().map(|e| format!("{:?} after {}", e.how, e.took.0 / SECOND));
            conditions.chain(ended).collect()
        })
        .collect()
}

#[test]
fn a_transition_stalls_once_it_is_old_enough_and_is_told_once() {
    let held = [holder(7, Some("f"))];
    let told = told(&[
        (100, moving(true, 14, &held)),
        (101, moving(true, 15, &held)),
        (102, moving(true, 16, &held)),
        (103, patch(true, None)),
        (104, patch(true, None)),
    ]);
    assert_eq!(
        told,
        [
            &[][..],
            &[
                "RW018 warning: its transition to the patched functions has been under way for 15 s: 1 task holds \
               it"
            ],
            &[],
            &["Complete after 17"],
            &[],
        ]
    );
}

#[test]
fn it_is_told_again_when_others_hold_it() {
    let (first, second) = (holder(7, Some("f")), holder(8, Some("f")));
    let both = [first.clone(), second.clone()];
    let reversed_list = [second.clone(), first.clone()];
    let counts: Vec<_> = told(&[
        (20, moving(true, 20, &both)),
        (21, moving(true, 21, &reversed_list)),
        // Somebody who is only passing by is no other holder.
        (22, moving(true, 22, &[first.clone(), second, holder(9, None)])),
        (23, moving(true, 23, std::slice::from_ref(&first))),
        (24, moving(true, 24, &[first])),
        // Nor is it news whom the kernel is about to move.
        (25, moving(true, 25, &[])),
        (26, moving(true, 26, &[])),
    ])
    .iter()
    .map(Vec::len)
    .collect();
    assert_eq!(counts, [1, 0, 0, 0, 1, 0, 1]);
}

#[test]
fn where_every_task_has_moved_an_idle_task_is_named() {
    let idle = Holder { state: "idle".to_owned(), ..Holder::default() };
    let told = told(&[(20, moving(false, 20, &[idle]))]);
    assert_eq!(
        told[0],
        [
            "RW018 warning: its transition to the original functions has been under way for 20 s: every task of /proc \
          has moved, so an idle task holds it"
        ]
    );
}

#[test]
fn tasks_that_could_not_be_read_are_not_taken_for_moved() {
    let mut seen = moving(true, 20, &[]);
    seen.patches[0].transition.as_mut().unwrap().tasks.unread = 3;
    assert!(told(&[(20, seen)])[0][0].ends_with("the state of 3 tasks could not be read"));
}

#[test]
fn where_tasks_are_hidden_nobody_is_blamed() {
    let mut seen = moving(true, 20, &[]);
    seen.patches[0].transition.as_mut().unwrap().sees_all = false;
    assert!(told(&[(20, seen)])[0][0].ends_with("tasks that are hidden from this process hold it"));
}

#[test]
fn an_age_that_is_a_bound_is_told_as_one() {
    let mut seen = moving(true, 20, &[holder(7, None), holder(8, None)]);
    seen.patches[0].transition.as_mut().unwrap().since = Since::Loaded;
    assert!(told(&[(20, seen)])[0][0].ends_with("for at least 20 s: 2 tasks hold it"));
}

#[test]
fn a_forced_transition_is_an_error_with_the_tasks_that_were_in_old_code() {
    let looks = [
        (100, moving(true, 5, &[holder(7, Some("f"))])),
        (101, forced(moving(true, 6, &[]), 101)),
        (102, forced(patch(true, None), 101)),
    ];
    let mut transitions = Transitions::default();
    let judged: Vec<_> = looks.iter().map(|(second, seen)| transitions.look(at(*second), seen)).collect();
    let [condition] = judged[1].conditions.as_slice() else { panic!("{judged:?}") };
    assert_eq!((condition.rule, condition.severity), (RuleId::ConsistencyForced, Severity::Error));
    assert_eq!(condition.because, "its transition was forced: 1 task was in old code");
    assert_eq!(condition.holders[0].task.as_ref().unwrap().pid, 7);
    assert_eq!(judged[2].ended[0].how, Outcome::Forced);
    assert!(judged[2].conditions.is_empty());
}

#[test]
fn a_livepatch_that_is_gone_after_it_was_forced_is_told_too() {
    let gone = PatchesSeen { forced: forced(patch(false, None), 101).forced, patches: Vec::new() };
    let told = told(&[(100, moving(false, 5, &[holder(7, Some("f"))])), (102, gone)]);
    assert_eq!(told[1], ["RW019 error: its transition was forced: 1 task was in old code", "Forced after 7"]);
}

#[test]
fn what_was_forced_before_the_run_is_no_error_of_it() {
    let told = told(&[(100, forced(patch(true, None), 50)), (101, forced(patch(true, None), 50))]);
    assert_eq!(
        told,
        [
            &["RW019 info: its transition was forced before this run: who was in old code was not seen"][..],
            &[]
        ]
    );
}

#[test]
fn one_that_was_forced_long_ago_does_not_make_a_later_transition_a_forced_one() {
    let looks = [(100, forced(moving(false, 1, &[]), 50)), (101, forced(patch(false, None), 50))];
    assert_eq!(told(&looks)[1], ["Complete after 2"]);
}

#[test]
fn a_transition_that_turns_back_begins_anew() {
    let held = [holder(7, Some("f"))];
    let told = told(&[
        (100, moving(true, 20, &held)),
        (101, moving(false, 1, &held)),
        (116, moving(false, 16, &held)),
        (117, PatchesSeen::default()),
    ]);
    assert_eq!(told[1], ["Reversed after 21"]);
    assert!(told[2][0].starts_with("RW018 warning: its transition to the original functions"), "{told:?}");
    assert_eq!(told[3], ["Complete after 17"]);
}

#[test]
fn one_that_turned_back_between_two_looks_is_not_complete() {
    let told = told(&[(100, moving(true, 20, &[])), (101, PatchesSeen::default())]);
    assert_eq!(told[1], ["Reversed after 21"]);
}
