//! What is new, gone, silent or back between two lists of a kernel's handlers.
//!
//! A handler is the same where its kind, name, function, place and tracefs instance are, and, in one boot, its BPF
//! program, its link and the address of its function, as far as both lists know them. Counters and owners are not its
//! identity: a pinned program goes on when its process ends. An owner decides only which of two equal handlers is meant.
//! What a list that only one of the two could read may explain is no change; it is counted as untold.

use alloc::borrow::ToOwned as _;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::probe::Owner;
use crate::report::handler_change::{
    Basis, Census, ChangeKind, HandlerChange, HandlerChangeTotals, StateBefore, Uncompared,
};
use crate::report::handler_list::ListedHandlers;
use crate::report::handlers::{HandlerList, HandlerReport, HandlerState, HookKind, Place};

/// The changes, those that take something away first, and their sums.
#[must_use]
pub fn compare(old: &ListedHandlers, now: &ListedHandlers) -> (Vec<HandlerChange>, HandlerChangeTotals) {
    let is_one_boot = !now.on.boot_id.is_empty() && old.on.boot_id == now.on.boot_id;
    let basis = if is_one_boot { Basis::SameBoot } else { Basis::Names };
    let differing = differing(old, now);
    let mut totals = HandlerChangeTotals {
        new: 0,
        gone: 0,
        silent: 0,
        back: 0,
        unchanged: 0,
        untold: 0,
        basis,
        old: old.on.clone(),
        uncompared: differing.iter().map(|&(list, unread)| uncompared(list, unread)).collect(),
    };
    let differs = |list: &HandlerList| differing.iter().any(|(differing, _)| differing == list);
    let mut changes = Vec::new();
    for (before, after) in pairs(old, now, basis) {
        let Some((change, handler)) = change(before, after) else {
            totals.unchanged += 1;
            continue;
        };
        let is_by_state = before.is_some() && after.is_some();
        // Whether a handler can run is also told by what ftrace and livepatches have on its function.
        let state_differs =
            is_by_state && (differs(&HandlerList::Functions) || differs(&HandlerList::Livepatches));
        if state_differs || handler.kind.told_by().iter().any(differs) {
            totals.untold += 1;
            continue;
        }
        *match change {
            ChangeKind::Gone => &mut totals.gone,
            ChangeKind::Silent => &mut totals.silent,
            ChangeKind::New => &mut totals.new,
            ChangeKind::Back => &mut totals.back,
        } += 1;
        let before = before.filter(|_| is_by_state);
        let before = before.map(|old| StateBefore { state: old.state, because: old.because.clone() });
        changes.push(HandlerChange { change, handler: handler.clone(), before });
    }
    changes.sort_by_key(|change| change.change);
    (changes, totals)
}

/// Lists that only one of the two could read. That of owners is no identity's.
fn differing(old: &ListedHandlers, now: &ListedHandlers) -> Vec<(HandlerList, Census)> {
    let only = |one: &ListedHandlers, other: &ListedHandlers, which| {
        let lists = one.unread.iter().copied();
        let lists = lists.filter(|list| *list != HandlerList::Owners && !other.unread.contains(list));
        lists.map(|list| (list, which)).collect::<Vec<_>>()
    };
    let mut lists = only(old, now, Census::Old);
    lists.extend(only(now, old, Census::Now));
    lists
}

fn uncompared(list: HandlerList, unread: Census) -> Uncompared {
    Uncompared { list: list.name().to_owned(), unread }
}

/// What became of a handler that was `before` and is `after`; that it is another failure is no change, but that what was
/// switched off is switched on and cannot run is one.
const fn change<'a>(
    before: Option<&'a HandlerReport>,
    after: Option<&'a HandlerReport>,
) -> Option<(ChangeKind, &'a HandlerReport)> {
    use HandlerState::{Alive, Dead, Off};
    match (before, after) {
        (Some(before), Some(after)) => match (before.state, after.state) {
            (Alive, Off | Dead) | (Off, Dead) => Some((ChangeKind::Silent, after)),
            (Off | Dead, Alive) => Some((ChangeKind::Back, after)),
            (Alive, Alive) | (Off | Dead, Off) | (Dead, Dead) => None,
        },
        (Some(before), None) => Some((ChangeKind::Gone, before)),
        (None, Some(after)) => Some((ChangeKind::New, after)),
        (None, None) => None,
    }
}

/// What a handler has in every boot.
type Key<'a> = (HookKind, &'a str, Option<&'a str>, Option<&'a str>, Place, Option<u64>, Option<&'a str>);

fn key(handler: &HandlerReport) -> Key<'_> {
    (
        handler.kind,
        &handler.name,
        handler.function.as_deref(),
        handler.module.as_deref(),
        handler.place,
        handler.offset,
        handler.instance.as_deref(),
    )
}

type Pair<'a> = (Option<&'a HandlerReport>, Option<&'a HandlerReport>);

/// Each handler once, with what it was before and what it is now, ours left out.
fn pairs<'a>(old: &'a ListedHandlers, now: &'a ListedHandlers, basis: Basis) -> Vec<Pair<'a>> {
    let mut before: HashMap<Key<'a>, Vec<(usize, &'a HandlerReport)>> = HashMap::new();
    for (index, handler) in old.handlers.iter().enumerate().filter(|(_, handler)| !handler.ours) {
        before.entry(key(handler)).or_default().push((index, handler));
    }
    let handlers = now.handlers.iter().filter(|handler| !handler.ours);
    let mut pairs: Vec<Pair<'a>> = handlers.map(|after| (None, Some(after))).collect();
    // Those whose owner is the same first, so that of two equal handlers the one is gone whose owner is.
    for is_strict in [true, false] {
        for (found, after) in &mut pairs {
            let Some(after) = after.filter(|_| found.is_none()) else { continue };
            let Some(candidates) = before.get_mut(&key(after)) else { continue };
            let is_it = |(_, old): &(usize, &HandlerReport)| {
                is_same(old, after, basis) && (!is_strict || is_same_owner(old, after))
            };
            *found = candidates.iter().position(is_it).map(|index| candidates.remove(index).1);
        }
    }
    let mut gone: Vec<_> = before.into_values().flatten().collect();
    gone.sort_unstable_by_key(|(index, _)| *index);
    pairs.extend(gone.into_iter().map(|(_, gone)| (Some(gone), None)));
    pairs
}

/// Whether two handlers of one key are one.
fn is_same(old: &HandlerReport, now: &HandlerReport, basis: Basis) -> bool {
    let agree = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    match basis {
        Basis::Names => agree(old.sympos, now.sympos),
        Basis::SameBoot => {
            agree(old.program, now.program) && agree(old.link, now.link) && is_same_function(old, now)
        }
    }
}

/// Functions of one name, in one boot: those of the kernel image do not move, those of a module do where it is loaded
/// again.
fn is_same_function(old: &HandlerReport, now: &HandlerReport) -> bool {
    match (old.address, now.address) {
        (Some(before), Some(after)) if before == after => true,
        (Some(_), Some(_)) => old.module.is_some() && old.sympos == now.sympos,
        _ => old.sympos.is_none() || now.sympos.is_none() || old.sympos == now.sympos,
    }
}

fn is_same_owner(old: &HandlerReport, now: &HandlerReport) -> bool {
    match (&old.owner, &now.owner) {
        (
            Some(Owner::Process { pid, comm, .. }),
            Some(Owner::Process { pid: pid_now, comm: comm_now, .. }),
        ) => pid == pid_now && comm == comm_now,
        (before, after) => before == after,
    }
}

#[cfg(test)]
mod tests;
