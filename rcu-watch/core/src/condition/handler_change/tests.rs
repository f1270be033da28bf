use alloc::string::String;
use alloc::vec;

use super::*;
use crate::probe::Reliance;
use crate::report::handler_change::ListedOn;
use crate::units::Address;

fn on(boot_id: &str, handlers: Vec<HandlerReport>) -> ListedHandlers {
    ListedHandlers {
        on: ListedOn { boot_id: boot_id.to_owned(), ..ListedOn::default() },
        handlers,
        ..ListedHandlers::default()
    }
}

fn handler(kind: HookKind, name: &str, function: &str) -> HandlerReport {
    HandlerReport {
        function: Some(function.to_owned()),
        address: Some(Address(0xffff_ffff_8100_0000)),
        ..HandlerReport::new(kind, name.to_owned(), Reliance::Relies)
    }
}

fn of_process(pid: u32, program: u32) -> HandlerReport {
    let comm = "bpftrace".to_owned();
    HandlerReport {
        owner: Some(Owner::Process { pid, comm, cgroup: None, container: None, others: 0 }),
        program: Some(program),
        link: Some(program),
        ..handler(HookKind::Fentry, "trace", "vfs_read")
    }
}

fn told(old: &ListedHandlers, now: &ListedHandlers) -> Vec<(ChangeKind, String)> {
    compare(old, now).0.into_iter().map(|change| (change.change, change.handler.name)).collect()
}

#[test]
fn what_is_new_and_what_is_gone_is_told_and_the_rest_counted() {
    let stays = handler(HookKind::Livepatch, "lp", "f");
    let old = on("b", vec![stays.clone(), handler(HookKind::Kprobe, "lab/a", "g")]);
    let now = on("b", vec![stays, handler(HookKind::Kprobe, "lab/b", "g")]);
    let (gone, new) = ((ChangeKind::Gone, "lab/a".to_owned()), (ChangeKind::New, "lab/b".to_owned()));
    assert_eq!(told(&old, &now), [gone, new]);
    let totals = compare(&old, &now).1;
    assert_eq!((totals.new, totals.gone, totals.unchanged, totals.changes()), (1, 1, 1, 2));
}

#[test]
fn counters_and_who_has_it_open_are_no_change() {
    let before = of_process(4711, 17);
    let pinned = Owner::Pinned { path: None };
    let after = HandlerReport { runs: Some(9), misses: Some(1), owner: Some(pinned), ..before.clone() };
    assert_eq!(told(&on("b", vec![before]), &on("b", vec![after])), []);
}

#[test]
fn what_fell_silent_says_why_and_what_is_back_what_it_was() {
    let alive = handler(HookKind::Kprobe, "lab/a", "g");
    let mut dead = alive.clone();
    dead.stop(HandlerState::Dead, "kprobes are switched off");
    let (alive, dead) = (on("b", vec![alive]), on("b", vec![dead]));
    let silent = compare(&alive, &dead).0.remove(0);
    assert_eq!(
        (silent.change, silent.handler.because.as_deref()),
        (ChangeKind::Silent, Some("kprobes are switched off"))
    );
    let back = compare(&dead, &alive).0.remove(0);
    assert_eq!((back.change, back.handler.because), (ChangeKind::Back, None));
    assert_eq!(back.before.unwrap().because.as_deref(), Some("kprobes are switched off"));
}

#[test]
fn what_was_off_and_is_dead_fell_silent_and_the_other_way_is_no_change() {
    let of = |state| on("b", vec![HandlerReport { state, ..handler(HookKind::Kprobe, "lab/a", "g") }]);
    let (off, dead) = (of(HandlerState::Off), of(HandlerState::Dead));
    assert_eq!(told(&off, &dead), [(ChangeKind::Silent, "lab/a".to_owned())]);
    assert_eq!(told(&dead, &off), []);
}

#[test]
fn a_program_that_was_started_again_is_another_in_one_boot_and_the_same_by_names() {
    let (first, second) = (of_process(4711, 17), of_process(4800, 23));
    let told_in = |boot| {
        let (old, now) = (on("b", vec![first.clone()]), on(boot, vec![second.clone()]));
        (compare(&old, &now).1.basis, told(&old, &now).len())
    };
    assert_eq!(told_in("b"), (Basis::SameBoot, 2));
    assert_eq!(told_in("c"), (Basis::Names, 0));
    // Nobody knows whether two unknown boots are one.
    assert_eq!(compare(&on("", Vec::new()), &on("", Vec::new())).1.basis, Basis::Names);
}

#[test]
fn of_two_equal_handlers_the_one_is_gone_whose_owner_is() {
    let of = |pid| HandlerReport { program: None, link: None, ..of_process(pid, 0) };
    let gone = compare(&on("b", vec![of(1), of(2)]), &on("b", vec![of(2)])).0.remove(0);
    assert_eq!((gone.change, gone.handler.owner), (ChangeKind::Gone, of(1).owner));
}

#[test]
fn two_functions_of_a_name_are_two_and_a_module_that_was_loaded_again_is_one() {
    let at = |address, module: Option<&str>| HandlerReport {
        address: Some(Address(address)),
        module: module.map(ToOwned::to_owned),
        ..handler(HookKind::Kprobe, "lab/a", "show")
    };
    let told = |module| told(&on("b", vec![at(0x1000, module)]), &on("b", vec![at(0x2000, module)])).len();
    assert_eq!((told(None), told(Some("demo"))), (2, 0));
    // An address that one of the two did not know tells nothing.
    let hidden = HandlerReport { address: None, ..at(0x1000, None) };
    assert_eq!(compare(&on("b", vec![hidden]), &on("b", vec![at(0x1000, None)])).1.unchanged, 1);
}

#[test]
fn what_only_one_could_read_is_untold_and_what_both_lack_is_compared() {
    let old = on("b", vec![of_process(1, 17), handler(HookKind::Livepatch, "lp", "f")]);
    let now =
        ListedHandlers { unread: vec![HandlerList::Programs, HandlerList::Owners], ..on("b", Vec::new()) };
    let (changes, totals) = compare(&old, &now);
    assert_eq!((changes.len(), changes[0].handler.name.as_str(), totals.untold), (1, "lp", 1));
    let lacking = Uncompared { list: "BPF programs".to_owned(), unread: Census::Now };
    assert_eq!(totals.uncompared, [lacking]);
    let old = ListedHandlers { unread: vec![HandlerList::Programs], ..old };
    assert_eq!(compare(&old, &now).1.gone, 2);
}

#[test]
fn whether_a_livepatch_runs_is_not_compared_where_only_one_saw_its_functions() {
    let of = |state| vec![HandlerReport { state, ..handler(HookKind::Livepatch, "lp", "f") }];
    let old = ListedHandlers { unread: vec![HandlerList::Functions], ..on("b", of(HandlerState::Alive)) };
    let (changes, totals) = compare(&old, &on("b", of(HandlerState::Dead)));
    assert_eq!((changes.len(), totals.untold), (0, 1));
}

#[test]
fn our_own_handlers_are_no_change() {
    let ours = HandlerReport { ours: true, ..of_process(1, 17) };
    assert_eq!(told(&on("b", vec![ours]), &on("b", Vec::new())), []);
}
