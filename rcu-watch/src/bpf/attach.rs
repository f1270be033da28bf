//! Attaches what the planner chose, and detaches it.

use std::time::Instant;

use aya::Ebpf;
use aya::programs::fentry::FEntryLinkId;
use aya::programs::fexit::FExitLinkId;
use aya::programs::kprobe::KProbeLinkId;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint};
use rcu_watch_common::slot;
use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::units::ProbeId;

use super::{BpfError, OwnPrograms, failed, maps};

/// Programs of a kind, for kprobes or for kretprobes.
#[derive(Clone, Copy)]
struct Kprobes {
    first: u32,
    count: u32,
    prefix: &'static str,
}

const KPROBES: Kprobes = Kprobes { first: slot::KPROBE, count: slot::KPROBE_COUNT, prefix: "rcuw_kprobe_" };
const KRETPROBES: Kprobes =
    Kprobes { first: slot::KRETPROBE, count: slot::KRETPROBE_COUNT, prefix: "rcuw_kret_" };
/// Functions with a program of their own, which knows what their arguments are.
const OWN_PROGRAMS: &[(&str, u32, &str)] = &[
    ("perf_event_nmi_handler", slot::NMI_PERF, "rcuw_nmi_perf"),
    ("nmi_cpu_backtrace_handler", slot::NMI_BACKTRACE, "rcuw_nmi_backtrace"),
    ("kprobe_int3_handler", slot::BREAKPOINT, "rcuw_int3"),
    ("hw_breakpoint_exceptions_notify", slot::DEBUG, "rcuw_debug"),
];

/// Where a probe is to sit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttachSite<'a> {
    pub symbol: &'a str,
    /// Bytes into the function: 0, but for kprobes.
    pub offset: u64,
    /// The function's id among the kernel's types, without which fentry and fexit cannot be.
    pub type_id: Option<u32>,
}

/// A program, where it sits and what holds it there.
pub(super) struct AttachedProgram {
    pub(super) probe: ProbeId,
    mechanism: Mechanism,
    pub(super) program: String,
    /// Where it sits.
    symbol: String,
    offset: u64,
    /// It can be running in an EQS when it is detached.
    may_be_in_eqs: bool,
    link: Link,
}

enum Link {
    Fentry(FEntryLinkId),
    Fexit(FExitLinkId),
    Kprobe(KProbeLinkId),
    /// `None` on all but one of the probes that share a program.
    RawTracepoint(Option<RawTracePointLinkId>),
    /// By CPU, in [`OwnPrograms::watchpoints`].
    Watchpoint,
    /// Taken off its function; the program stays loaded, and its id is no other's.
    None,
}

impl OwnPrograms {
    /// Attaches a probe of `point` there, and returns its id.
    ///
    /// # Errors
    /// Where the kernel refuses, or all programs of that kind are in use.
    pub(crate) fn attach(
        &mut self,
        point: Point,
        mechanism: Mechanism,
        site: AttachSite<'_>,
    ) -> Result<ProbeId, BpfError> {
        let AttachSite { symbol, offset, type_id } = site;
        let (probe, program, link) = match mechanism {
            Mechanism::Fentry => self.attach_fentry(symbol, type_id)?,
            Mechanism::Fexit => self.attach_fexit(symbol, type_id)?,
            Mechanism::KprobeFtrace | Mechanism::KprobeInt3 => self.attach_kprobe(KPROBES, symbol, offset)?,
            Mechanism::Kretprobe => self.attach_kprobe(KRETPROBES, symbol, offset)?,
            Mechanism::RawTracepoint => self.attach_raw_tracepoint(point, symbol)?,
            Mechanism::Watchpoint => (self.load_watchpoint()?, "rcuw_watch_s".to_owned(), Link::Watchpoint),
        };
        let may_be_in_eqs = probe.0 >= slot::FENTRY && point != Point::KlpTransition;
        let symbol = symbol.to_owned();
        let attached = AttachedProgram { probe, mechanism, program, symbol, offset, may_be_in_eqs, link };
        self.attached.push(attached);
        Ok(probe)
    }

    /// Prepares for probes at these sites: it costs once what it would cost for each.
    pub(crate) fn expect<'a>(&mut self, sites: impl Iterator<Item = AttachSite<'a>>) {
        self.functions.expect(sites);
    }

    fn free_slot(&self, first: u32, count: u32) -> Result<u32, BpfError> {
        (0..count)
            .find(|index| self.attached.iter().all(|attached| attached.probe.0 != first + index))
            .ok_or(BpfError::OutOfSlots(count))
    }

    fn attach_fentry(
        &mut self,
        symbol: &str,
        type_id: Option<u32>,
    ) -> Result<(ProbeId, String, Link), BpfError> {
        let own = OWN_PROGRAMS.iter().find(|(function, ..)| *function == symbol);
        let (probe, name) = match own {
            Some(&(_, probe, name)) => (ProbeId(probe), name.to_owned()),
            None => {
                let index = self.free_slot(slot::FENTRY, slot::FENTRY_COUNT)?;
                (ProbeId(slot::FENTRY + index), format!("rcuw_fentry_{index:02}"))
            }
        };
        maps::want_stack(&mut self.bpf, probe)?;
        let types = self.functions.with(symbol, type_id)?;
        let program: &mut FEntry = program(&mut self.bpf, &name)?;
        program.load(symbol, types).map_err(failed(&name))?;
        let link = attached(&name, program.attach(), || program.unload())?;
        Ok((probe, name, Link::Fentry(link)))
    }

    fn attach_fexit(
        &mut self,
        symbol: &str,
        type_id: Option<u32>,
    ) -> Result<(ProbeId, String, Link), BpfError> {
        let index = self.free_slot(slot::FEXIT, slot::FEXIT_COUNT)?;
        maps::want_stack(&mut self.bpf, ProbeId(slot::FEXIT + index))?;
        let name = format!("rcuw_fexit_{index:02}");
        let types = self.functions.with(symbol, type_id)?;
        let program: &mut FExit = program(&mut self.bpf, &name)?;
        program.load(symbol, types).map_err(failed(&name))?;
        let link = attached(&name, program.attach(), || program.unload())?;
        Ok((ProbeId(slot::FEXIT + index), name, Link::Fexit(link)))
    }

    fn attach_kprobe(
        &mut self,
        programs: Kprobes,
        symbol: &str,
        offset: u64,
    ) -> Result<(ProbeId, String, Link), BpfError> {
        let Kprobes { first, count, prefix } = programs;
        let index = self.free_slot(first, count)?;
        maps::want_stack(&mut self.bpf, ProbeId(first + index))?;
        let name = format!("{prefix}{index:02}");
        let program: &mut KProbe = program(&mut self.bpf, &name)?;
        program.load().map_err(failed(&name))?;
        let link = attached(&name, program.attach(symbol, offset), || program.unload())?;
        Ok((ProbeId(first + index), name, Link::Kprobe(link)))
    }

    fn attach_raw_tracepoint(
        &mut self,
        point: Point,
        tracepoint: &str,
    ) -> Result<(ProbeId, String, Link), BpfError> {
        let (probe, name) = match (point, tracepoint) {
            (_, "sched_switch") => (slot::CHECKPOINT, "rcuw_checkpoint"),
            (Point::EqsExit, "cpu_idle") => (slot::EQS_EXIT, "rcuw_cpu_idle"),
            (_, "cpu_idle") => (slot::EQS_ENTER, "rcuw_cpu_idle"),
            (_, "nmi_handler") => (slot::NMI, "rcuw_nmi"),
            _ => return Err(BpfError::NoProgram { symbol: tracepoint.to_owned() }),
        };
        maps::want_stack(&mut self.bpf, ProbeId(probe))?;
        let shared = self.attached.iter().any(|attached| attached.program == name);
        let link = if shared {
            None
        } else {
            let program: &mut RawTracePoint = program(&mut self.bpf, name)?;
            program.load().map_err(failed(name))?;
            Some(attached(name, program.attach(tracepoint), || program.unload())?)
        };
        Ok((ProbeId(probe), name.to_owned(), Link::RawTracepoint(link)))
    }

    pub(super) fn raw_tracepoint(&mut self, name: &str) -> Result<&mut RawTracePoint, BpfError> {
        program(&mut self.bpf, name)
    }

    /// Takes one probe off its function. Its program stays loaded, and its id stays its own: records of it may
    /// be on the way, and it may come back.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) fn detach(&mut self, id: ProbeId) -> Result<(), BpfError> {
        let attached = self.attached.iter_mut().find(|attached| attached.probe == id);
        attached.map_or(Ok(()), |attached| attached.detach(&mut self.bpf))
    }

    /// Puts a probe that was detached back where it was.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) fn reattach(&mut self, id: ProbeId) -> Result<(), BpfError> {
        let missing = || BpfError::Missing(format!("probe {}", id.0));
        let index = self.attached.iter().position(|attached| attached.probe == id).ok_or_else(missing)?;
        let Self { bpf, attached, .. } = self;
        let AttachedProgram { mechanism, program: name, symbol, offset, link, .. } = &mut attached[index];
        let refused = failed(name);
        *link = match mechanism {
            Mechanism::Fentry => Link::Fentry(program::<FEntry>(bpf, name)?.attach().map_err(refused)?),
            Mechanism::Fexit => Link::Fexit(program::<FExit>(bpf, name)?.attach().map_err(refused)?),
            Mechanism::KprobeFtrace | Mechanism::KprobeInt3 | Mechanism::Kretprobe => {
                Link::Kprobe(program::<KProbe>(bpf, name)?.attach(symbol, *offset).map_err(refused)?)
            }
            // Shared by probes, or by CPU: none of them is taken off by its id.
            Mechanism::RawTracepoint | Mechanism::Watchpoint => return Err(missing()),
        };
        Ok(())
    }

    /// Detaches everything. The programs stay open: what they counted can be read, and [`Self::settle`] waits
    /// for what they still send.
    ///
    /// # Errors
    /// The first refusal to detach; the rest is detached all the same.
    pub(crate) fn detach_all(&mut self) -> Result<(), BpfError> {
        self.watchpoints.close_all();
        let mut in_eqs = false;
        let mut first_error = Ok(());
        let Self { bpf, attached, .. } = self;
        // What is refused stays known, and is tried again when this is dropped.
        attached.retain_mut(|attached| {
            in_eqs |= attached.may_be_in_eqs;
            let detached = attached.detach(bpf);
            let is_left = detached.is_err();
            first_error = std::mem::replace(&mut first_error, Ok(())).and(detached);
            is_left
        });
        self.grace.detached(Instant::now(), in_eqs);
        first_error
    }

    /// Waits until no program that was detached can be running: all that they send is in the ring then.
    pub(crate) fn settle(&self) {
        std::thread::sleep(self.grace.until_settled(Instant::now()));
    }
}

impl AttachedProgram {
    /// Takes it off its function. The link is forgotten only when aya has taken it: until then it holds the program there.
    fn detach(&mut self, bpf: &mut Ebpf) -> Result<(), BpfError> {
        let name = &self.program;
        let unlinked = match std::mem::replace(&mut self.link, Link::None) {
            Link::Fentry(id) => unlink(bpf, name, id, Link::Fentry, FEntry::detach),
            Link::Fexit(id) => unlink(bpf, name, id, Link::Fexit, FExit::detach),
            Link::Kprobe(id) => unlink(bpf, name, id, Link::Kprobe, KProbe::detach),
            Link::RawTracepoint(Some(id)) => {
                unlink(bpf, name, id, |id| Link::RawTracepoint(Some(id)), RawTracePoint::detach)
            }
            Link::RawTracepoint(None) | Link::Watchpoint | Link::None => Ok(()),
        };
        unlinked.map_err(|Kept { error, link }| {
            self.link = link;
            *error
        })
    }
}

/// Why a link was not given up, and what is left of it.
struct Kept {
    error: Box<BpfError>,
    link: Link,
}

/// Has a program give up its link.
fn unlink<P, Id>(
    bpf: &mut Ebpf,
    name: &str,
    id: Id,
    keep: fn(Id) -> Link,
    detach: fn(&mut P, Id) -> Result<(), ProgramError>,
) -> Result<(), Kept>
where
    for<'a> &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let (error, link) = match program::<P>(bpf, name) {
        Ok(program) => match detach(program, id) {
            Ok(()) => return Ok(()),
            Err(refusal) => (failed(name)(refusal), Link::None),
        },
        Err(error) => (error, keep(id)),
    };
    Err(Kept { error: Box::new(error), link })
}

/// The program of that name, as the kind that it is.
pub(super) fn program<'a, P>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, BpfError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = bpf.program_mut(name).ok_or_else(|| BpfError::Missing(name.to_owned()))?;
    program.try_into().map_err(failed(name))
}

/// What came of attaching a program. One that was refused is unloaded, so that it can be loaded for something else.
fn attached<L>(
    name: &str,
    link: Result<L, ProgramError>,
    unload: impl FnOnce() -> Result<(), ProgramError>,
) -> Result<L, BpfError> {
    link.or_else(|refusal| {
        unload().map_err(failed(name))?;
        Err(failed(name)(refusal))
    })
}

/// However a run ends, its programs are detached before they are closed, and those that may run in an EQS are kept
/// for their grace time in between. The fields, and with them the programs, are closed after this. It cannot help
/// where nothing is dropped: a process that is killed, and a panic of a release build, which aborts.
impl Drop for OwnPrograms {
    fn drop(&mut self) {
        // Who has something to say of the error called it before. A link that does not detach is closed all the same.
        let _ = self.detach_all();
        std::thread::sleep(self.grace.until_closable(Instant::now()));
    }
}
