//! Where this kernel keeps a CPU's RCU state: struct members from its BTF, per-CPU addresses from kallsyms.
//!
//! The generation follows from which struct has the members and what they are called, never from a release:
//! distributions backport RCU freely. Two generations look alike but for their watching bit (5.15 dropped the
//! special bit): `rcu_eqs_special_set` is there as long as the special bit is, and calibration has the last word.

use std::collections::{BTreeMap, BTreeSet};

use rcu_watch_common::config::{STATE_BLOCK_BYTES, StateLayout};
use rcu_watch_core::model::generation::Generation;
use thiserror::Error;

use crate::kernel::read::btf::{FoundTypes, Member, Query};
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::FoundSymbols;

const PER_CPU_OFFSET: &str = "__per_cpu_offset";
const PREEMPT_COUNT: &str = "__preempt_count";
const PCPU_HOT: &str = "pcpu_hot";
const PCPU_HOT_PREEMPT_COUNT: &str = "preempt_count";
const RCU_DATA: &str = "rcu_data";
const RCU_NODE: &str = "rcu_node";
const GRPMASK: &str = "grpmask";
const MYNODE: &str = "mynode";
const QSMASKINITNEXT: &str = "qsmaskinitnext";
/// Removed with the special bit by a86baa69c2b7 ("rcu: Remove special bit at the bottom of the ->dynticks
/// counter").
const SPECIAL_BIT: &str = "rcu_eqs_special_set";

/// Symbols that the layout is made from.
pub(crate) const SYMBOLS: &[&str] =
    &[PER_CPU_OFFSET, PREEMPT_COUNT, PCPU_HOT, SPECIAL_BIT, "context_tracking", "rcu_data", "rcu_dynticks"];

/// Adds to `query` what the layout needs of the BTF.
pub(crate) fn ask(query: &mut Query) {
    let mut want = |of: &str, members: &[&str]| {
        let known = query.members.entry(of.to_owned()).or_default();
        known.extend(members.iter().map(|&m| m.to_owned()));
    };
    for place in Generation::ALL.map(Generation::layout) {
        want(place.object, &[place.state_member, place.nesting_member, place.nmi_nesting_member]);
    }
    want(PCPU_HOT, &[PCPU_HOT_PREEMPT_COUNT]);
    want(RCU_DATA, &[GRPMASK, MYNODE]);
    want(RCU_NODE, &[QSMASKINITNEXT]);
    query.variables.insert(PREEMPT_COUNT.to_owned());
}

/// The state of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub generation: Generation,
    pub state: StateLayout,
    /// Size of M: 4 up to 4.15, which the programs do not read.
    pub nmi_nesting_bytes: u32,
}

impl Layout {
    /// Struct and member that hold S.
    #[must_use]
    pub fn state_member(&self) -> String {
        let place = self.generation.layout();
        format!("{}.{}", place.object, place.state_member)
    }

    /// What the programs are told.
    ///
    /// # Errors
    /// That they cannot read this layout.
    pub fn for_programs(&self) -> Result<StateLayout, LayoutError> {
        match self.nmi_nesting_bytes {
            8 => Ok(self.state),
            _ => Err(LayoutError::TooOld(self.generation)),
        }
    }

    /// Turns to the other of two generations that only differ in their watching bit.
    pub fn set_generation(&mut self, generation: Generation) {
        self.generation = generation;
        let words = generation.layout();
        self.state.rest_mask = words.watching_mask | words.context_mask;
        self.state.rest_state = words.watching_mask;
    }
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error(
        "the layout of this kernel's RCU state is unknown: looked for {looked_for}; found {found}; please \
         report it with the kernel's release"
    )]
    Unknown { looked_for: String, found: String },
    #[error("the kernel's types are not known: {0}")]
    NoTypes(Reason),
    #[error("the kernel's symbols are not known: {0}")]
    NoSymbols(Reason),
    #[error("kallsyms has no `{0}`; a kernel with CONFIG_KALLSYMS_ALL is needed")]
    Symbol(&'static str),
    #[error("kallsyms hides kernel addresses; run as root, and set kernel.kptr_restrict to 0 or 1")]
    Hidden,
    #[error(
        "S, N and M lie within {span} bytes of {object} and are read in one block of {STATE_BLOCK_BYTES}; \
         please report it with the kernel's release"
    )]
    Apart { object: &'static str, span: u32 },
    #[error(
        "{object}.{member} has {bytes} bytes and had {expected} on every kernel that is known; please report it \
         with the kernel's release"
    )]
    Size { object: &'static str, member: &'static str, bytes: u32, expected: u32 },
    #[error("this kernel keeps preempt_count per task; run on x86-64, where it is per CPU")]
    PreemptCountPerTask,
    #[error("RCU's state is of generation {0}, from before 4.16; a younger kernel is needed")]
    TooOld(Generation),
}

/// Finds the layout.
///
/// # Errors
/// What was looked for, and what was found instead.
pub(crate) fn find(btf: &FoundTypes, symbols: &FoundSymbols) -> Result<Layout, LayoutError> {
    let (generation, [state, nesting, nmi_nesting]) = place(btf, symbols).ok_or_else(|| unknown(btf))?;
    let names = generation.layout();
    let object = names.object;
    let expect = |member, of: Member, expected| {
        let bytes = of.size_bytes;
        if bytes == expected { Ok(()) } else { Err(LayoutError::Size { object, member, bytes, expected }) }
    };
    let nmi_nesting_bytes = if generation.counts_irqs_in_nesting() { 4 } else { 8 };
    expect(names.state_member, state, 4)?;
    expect(names.nesting_member, nesting, 8)?;
    expect(names.nmi_nesting_member, nmi_nesting, nmi_nesting_bytes)?;

    let all = [state, nesting, nmi_nesting];
    let start = all.iter().map(|m| m.offset_bytes).min().unwrap_or(0);
    let end = all.iter().map(|m| m.offset_bytes + m.size_bytes).max().unwrap_or(0);
    if (end - start) as usize > STATE_BLOCK_BYTES {
        return Err(LayoutError::Apart { object, span: end - start });
    }
    let address = |name: &'static str| {
        if symbols.hidden {
            return Err(LayoutError::Hidden);
        }
        symbols.address(name).ok_or(LayoutError::Symbol(name))
    };
    let (per_cpu_offset, block) = (address(PER_CPU_OFFSET)?, address(object)? + u64::from(start));
    let preempt_count = preempt_count(btf, symbols)?;
    let (hardirq_mask, nmi_mask) = preempt_count.masks();
    let state = StateLayout {
        per_cpu_offset,
        block,
        preempt_count: preempt_count.address,
        nmi_mask,
        hardirq_mask,
        state_offset: state.offset_bytes - start,
        nesting_offset: nesting.offset_bytes - start,
        nmi_nesting_offset: nmi_nesting.offset_bytes - start,
        preempt_count_bytes: preempt_count.bytes,
        ..StateLayout::default()
    };
    let mut layout = Layout { generation, state, nmi_nesting_bytes };
    add_online_mask(&mut layout.state, btf, symbols);
    layout.set_generation(generation);
    Ok(layout)
}

/// Where RCU keeps which CPUs it waits for; left out where any part of it is not to be had.
fn add_online_mask(state: &mut StateLayout, btf: &FoundTypes, symbols: &FoundSymbols) {
    let member = |of: &str, name: &str| btf.member(of, name).filter(|member| member.size_bytes == 8);
    let (Some(grpmask), Some(mynode), Some(qsmaskinitnext), Some(rcu_data)) = (
        member(RCU_DATA, GRPMASK),
        member(RCU_DATA, MYNODE),
        member(RCU_NODE, QSMASKINITNEXT),
        symbols.address(RCU_DATA),
    ) else {
        return;
    };
    state.rcu_data = rcu_data;
    state.grpmask_offset = grpmask.offset_bytes;
    state.mynode_offset = mynode.offset_bytes;
    state.qsmaskinitnext_offset = qsmaskinitnext.offset_bytes;
}

/// The generation whose members this kernel has.
fn place(btf: &FoundTypes, symbols: &FoundSymbols) -> Option<(Generation, [Member; 3])> {
    // The youngest first: a `context_tracking` without the members is also on older kernels.
    Generation::ALL.into_iter().rev().find_map(|generation| {
        let names = generation.layout();
        let member = |name| btf.member(names.object, name);
        let members =
            [member(names.state_member)?, member(names.nesting_member)?, member(names.nmi_nesting_member)?];
        let special_bit = symbols.has(SPECIAL_BIT);
        let counts_irqs_in_nesting = members[2].size_bytes == 4;
        let fits = match generation {
            Generation::G0a => counts_irqs_in_nesting && !special_bit,
            Generation::G0b => counts_irqs_in_nesting && special_bit,
            Generation::G1 => !counts_irqs_in_nesting,
            Generation::G2 => special_bit,
            Generation::G3 => !special_bit,
            Generation::G4 | Generation::G5 => true,
        };
        fits.then_some((generation, members))
    })
}

struct PreemptCount {
    address: u64,
    bytes: u32,
}

impl PreemptCount {
    /// HARDIRQ and NMI bits. Eight bytes came with separate resched bits (7.3), which moved them.
    const fn masks(&self) -> (u64, u64) {
        if self.bytes == 8 { (0x0f00_0000, 0xf000_0000) } else { (0x000f_0000, 0x00f0_0000) }
    }
}

fn preempt_count(btf: &FoundTypes, symbols: &FoundSymbols) -> Result<PreemptCount, LayoutError> {
    if symbols.has(PREEMPT_COUNT) {
        let address = symbols.address(PREEMPT_COUNT).ok_or(LayoutError::Hidden)?;
        // Without variables in the BTF the kernel is older than any with eight bytes.
        let bytes = btf.variables.get(PREEMPT_COUNT).copied().unwrap_or(4);
        return match bytes {
            4 | 8 => Ok(PreemptCount { address, bytes }),
            _ => Err(LayoutError::Size { object: "per-CPU data", member: PREEMPT_COUNT, bytes, expected: 4 }),
        };
    }
    // 6.2 to 6.14: 64701838bf05 ("x86/percpu: Move preempt_count next to current_task").
    let member = btf.member(PCPU_HOT, PCPU_HOT_PREEMPT_COUNT).ok_or(LayoutError::PreemptCountPerTask)?;
    match symbols.address(PCPU_HOT) {
        Some(address) => {
            Ok(PreemptCount { address: address + u64::from(member.offset_bytes), bytes: member.size_bytes })
        }
        None if symbols.hidden => Err(LayoutError::Hidden),
        None => Err(LayoutError::Symbol(PCPU_HOT)),
    }
}

fn unknown(btf: &FoundTypes) -> LayoutError {
    let join =
        |names: Vec<String>| if names.is_empty() { "none of these".to_owned() } else { names.join(", ") };
    let looked_for: BTreeSet<_> = Generation::ALL
        .map(Generation::layout)
        .map(|p| {
            format!("{}.{{{}, {}, {}}}", p.object, p.state_member, p.nesting_member, p.nmi_nesting_member)
        })
        .into_iter()
        .collect();
    let objects: BTreeSet<_> =
        Generation::ALL.map(|generation| generation.layout().object).into_iter().collect();
    let empty = BTreeMap::new();
    let found = objects
        .into_iter()
        .filter(|object| btf.structs.contains(*object))
        .map(|object| {
            let members = btf.members.get(object).unwrap_or(&empty).keys().cloned().collect::<Vec<_>>();
            format!("{object}.{{{}}}", members.join(", "))
        })
        .collect();
    LayoutError::Unknown { looked_for: join(looked_for.into_iter().collect()), found: join(found) }
}
