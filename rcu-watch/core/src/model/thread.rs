//! The thread of 8 May 2017 replayed: each of its statements as a test, on its own kernel and on today's.

use alloc::vec;

use super::call;
use super::generation::{Generation, TASK_EXIT_IDLE};
use super::kernel::KernelModel;
use super::step::{Machine, Words};
use crate::finding::Severity;
use crate::probe::{HandlerKind, Mechanism, Point, Probe, Reliance};
use crate::rules::guard::{Guard, Guards};
use crate::rules::tests::{NI, NMI, fired, handler, idle, in_task, probe};
use crate::snapshot::{RcuState, Regs, Snapshot};
use crate::units::StateWord;
use crate::vantage::Underlying;

const THEN: Generation = Generation::G0b;
const NOW: Generation = Generation::G5;

/// W=0, N set, M=0: inside the exit from idle of 2017, after the write to N and before the one to S.
const WINDOW_OUT: Words = words(0, TASK_EXIT_IDLE);
/// W=1, N=0, M=0: inside `rcu_dynticks_eqs_enter()` of 2017, before the increment.
const BEFORE_INCREMENT: Words = words(2, 0);

const fn words(state: u32, nesting: i64) -> Words {
    Words { state, nesting, nmi_nesting: 0, preempt_count: 0, interrupts_on: false }
}

fn kernel(generation: Generation) -> KernelModel {
    crate::rules::tests::kernel(generation)
}

fn machine(generation: Generation) -> Machine {
    Machine { generation, nmi_mask: kernel(generation).preempt.nmi_mask }
}

fn watches(generation: Generation, words: &Words) -> bool {
    generation.watches(StateWord(words.state))
}

fn snapshot(words: &Words) -> Snapshot<'static> {
    Snapshot { rcu: words.to_rcu(), ..Snapshot::default() }
}

/// The entry of `rcu_irq_enter()`, which could be hooked in 2017.
fn irq_enter_entry() -> Probe {
    Probe { is_rcu_internal: true, ..probe(Point::IrqEnter, Mechanism::KprobeFtrace) }
}

fn handled_function() -> Probe {
    Probe {
        handlers: vec![handler(HandlerKind::FtraceOps, Reliance::Relies)],
        ..probe(Point::FtraceFunction, Mechanism::KprobeFtrace)
    }
}

fn protects(generation: Generation, guard: Guard, rcu: RcuState, interrupts_on: bool) -> bool {
    let under = Underlying { rcu, interrupts_on: Some(interrupts_on) };
    Guards::new(&kernel(generation))
        .at(&under)
        .iter()
        .any(|outcome| outcome.guard == guard && outcome.protects)
}

#[test]
fn t1_an_nmi_out_of_an_eqs_moves_the_counter_on_entry_and_again_on_exit() {
    for (generation, step) in [(Generation::G0a, 1), (THEN, 2), (NOW, 4)] {
        let mut words = words(0, 0);
        machine(generation).run(&call::nmi_enter(generation), &mut words);
        assert_eq!(words.state, step);
        assert!(watches(generation, &words));
        machine(generation).run(&call::nmi_exit(generation), &mut words);
        assert_eq!(words.state, 2 * step);
        assert!(!watches(generation, &words));

        let mut task = Words::at_rest(generation);
        machine(generation).run(&call::nmi_enter(generation), &mut task);
        assert_eq!(task.state, Words::at_rest(generation).state, "from a task S stays");
    }
}

#[test]
fn t2_five_steps_to_hilarity_are_rw002_then_and_rw001_without_a_guard_now() {
    // 1. RCU is not watching. 2. An NMI hits. 3. ist_enter() reaches an ftrace handler before rcu_nmi_enter().
    let mut at_handler = WINDOW_OUT;
    assert_eq!(
        fired(&kernel(THEN), &irq_enter_entry(), &snapshot(&at_handler)),
        [("RW002", Severity::Error)]
    );
    // 4. The handler's rcu_irq_enter() has no effect.
    machine(THEN).run(&call::irq_enter(THEN), &mut at_handler);
    assert!(!watches(THEN, &at_handler));
    // 5. Hilarity ensues.
    assert_eq!(
        fired(&kernel(THEN), &handled_function(), &snapshot(&at_handler)),
        [("RW001", Severity::Error)]
    );
    assert!(!protects(THEN, Guard::IrqEnter, WINDOW_OUT.to_rcu(), false));

    // Since 4.16 the call works wherever RCU is off; only a handler that does nothing is unwatched.
    let eqs = words(1, 0);
    assert_eq!(fired(&kernel(NOW), &irq_enter_entry(), &snapshot(&eqs)), []);
    assert_eq!(fired(&kernel(NOW), &handled_function(), &snapshot(&eqs)), [("RW001", Severity::Error)]);
    assert!(protects(NOW, Guard::IrqEnter, eqs.to_rcu(), false));
    assert!(!protects(NOW, Guard::None, eqs.to_rcu(), false));
}

#[test]
fn t3_an_nmi_before_the_increment_is_rw009_and_its_irq_enter_rw002() {
    // rcu_nmi_enter() copes.
    let mut nmi = BEFORE_INCREMENT;
    machine(THEN).run(&call::nmi_enter(THEN), &mut nmi);
    assert!(watches(THEN, &nmi));
    assert_eq!(nmi.nmi_nesting, 2);
    nmi.preempt_count = NMI;
    let tracepoint = probe(Point::NmiEnter, Mechanism::RawTracepoint);
    assert_eq!(fired(&kernel(THEN), &tracepoint, &snapshot(&nmi)), [("RW009", Severity::Info)]);

    // rcu_irq_enter() from an NMI handler does not: it makes RCU stop watching.
    assert_eq!(
        fired(&kernel(THEN), &irq_enter_entry(), &snapshot(&BEFORE_INCREMENT)),
        [("RW002", Severity::Error)]
    );
    let mut irq = BEFORE_INCREMENT;
    machine(THEN).run(&call::irq_enter(THEN), &mut irq);
    assert!(!watches(THEN, &irq));
    assert!(protects(THEN, Guard::NmiEnter, BEFORE_INCREMENT.to_rcu(), false));

    // Today both are one function, and the window is only worth telling.
    let now = words(4, 0);
    assert!(protects(NOW, Guard::IrqEnter, now.to_rcu(), false));
    assert_eq!(fired(&kernel(NOW), &tracepoint, &idle(4, 0, 2, NMI)), [("RW009", Severity::Info)]);
}

#[test]
fn t4_at_the_edges_of_an_nmi_in_nmi_says_no_and_that_is_rw003() {
    // Before nmi_enter() P shows nothing: the guard takes the irq path, which does not work in the window.
    assert!(!protects(THEN, Guard::InNmi, WINDOW_OUT.to_rcu(), false));
    let inside = Words { preempt_count: NMI, ..WINDOW_OUT };
    assert!(protects(THEN, Guard::InNmi, inside.to_rcu(), false));
    let do_nmi = probe(Point::NmiEnter, Mechanism::KprobeFtrace);
    assert_eq!(fired(&kernel(THEN), &do_nmi, &in_task(2, TASK_EXIT_IDLE, 0, 0)), [("RW003", Severity::Info)]);

    // Today nothing that can be hooked runs at the edge: a probe that sees it is an error.
    let nmi_handler = probe(Point::NmiEnter, Mechanism::RawTracepoint);
    assert_eq!(fired(&kernel(NOW), &nmi_handler, &in_task(4, 1, NI + 2, 0)), [("RW003", Severity::Error)]);
}

#[test]
fn t5_an_exception_counted_by_ist_enter_is_no_nmi_to_in_nmi_and_that_is_rw004() {
    let mut words = words(0, 0);
    machine(THEN).run(&call::nmi_enter(THEN), &mut words);
    let do_int3 = probe(Point::IstEnter, Mechanism::KprobeFtrace);
    assert_eq!(fired(&kernel(THEN), &do_int3, &snapshot(&words)), [("RW004", Severity::Info)]);
    // in_some_other_exception() does not exist: the guard takes the irq path, before ist_enter() in vain.
    assert!(!protects(THEN, Guard::InNmi, WINDOW_OUT.to_rcu(), false));
    assert!(protects(THEN, Guard::NmiEnter, WINDOW_OUT.to_rcu(), false));

    let mut arm64 = kernel(NOW);
    arm64.ist_sets_nmi_bits = false;
    assert_eq!(fired(&arm64, &do_int3, &idle(5, 0, 1, 0)), [("RW004", Severity::Info)]);
    // x86 since 5.8: the bits are there, and in_nmi() is enough.
    assert_eq!(fired(&kernel(NOW), &do_int3, &idle(5, 0, 1, NMI)), []);
}

#[test]
fn t6_interrupts_on_behind_rcu_nmi_enter_are_rw005_and_a_switch_there_rw006() {
    for (generation, rest_state) in [(THEN, 2), (NOW, 4)] {
        let at_rest = Words::at_rest(generation);
        assert!(!protects(generation, Guard::NmiEnter, at_rest.to_rcu(), true));
        assert!(protects(generation, Guard::NmiEnter, at_rest.to_rcu(), false));

        let mut section = at_rest;
        machine(generation).run(&call::nmi_enter(generation), &mut section);
        let (n, m) = (section.nesting, section.nmi_nesting);
        let regs = Some(Regs { rflags: 1 << 9, ..Regs::default() });
        let in_nmi = Snapshot { regs, ..in_task(rest_state, n, m, NMI) };
        let nmi = probe(Point::FtraceFunction, Mechanism::KprobeFtrace);
        assert_eq!(fired(&kernel(generation), &nmi, &in_nmi), [("RW005", Severity::Error)]);

        // An irq ends in a context switch with the section open.
        let checkpoint = probe(Point::Checkpoint, Mechanism::RawTracepoint);
        let switched = in_task(rest_state, n, m, 0);
        assert_eq!(fired(&kernel(generation), &checkpoint, &switched), [("RW006", Severity::Error)]);
    }
}
