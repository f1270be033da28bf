//! From the attach plan to a run under way: load, calibrate, attach, prove that it fires, and say all of that.

use anyhow::{Context as _, Result};
use rcu_watch_common::slot;
use rcu_watch_core::calibration::{self, Calibrated, Contradiction};
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::kernel::{Calibration, KernelModel, PreemptLayout};
use rcu_watch_core::pipeline::Pipeline;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::recording::part::{NumberedProbe, Start};
use rcu_watch_core::report::header::{self, Clock, HandledSite, Header, Kernel, Proof};
use rcu_watch_core::report::{Message, ProbeError};
use rcu_watch_core::units::{Address, CpuId, ProbeId};
use rcu_watch_core::verdict::Unsupported;

use super::books::Books;
use super::follow::Following;
use super::look::{self, Looks};
use super::options::WatchOptions;
use super::overhead::Overhead;
use super::refusal::refuse_if_unsupported;
use super::symbols::Symbols;
use super::watch::Watch;
use super::{RunningProbe, Session, attach_site, proof};
use crate::bpf::peek::Peek;
use crate::bpf::{BpfError, OwnPrograms, Reader, StreamOptions};
use crate::clock;
use crate::kernel::facts::ask::RunningKernel;
use crate::kernel::follow::Follower;
use crate::kernel::layout::Layout;
use crate::kernel::mount::Tree;
use crate::kernel::plan::PlannedProbe;
use crate::kernel::{AttachPlan, Facts, Request, points, text};
use crate::recording::Recorder;
use crate::sink::Stream;

/// Starts watching by `plan`.
///
/// # Errors
/// [`Unsupported`] where this kernel or these privileges do not allow it, with all that stands in the way.
pub fn start(
    facts: &Facts,
    request: &Request,
    plan: &AttachPlan,
    mut stream: Stream,
    options: &WatchOptions,
) -> Result<Session> {
    let mut layout = *facts.layout.as_ref().map_err(|error| Unsupported(error.to_string()))?;
    let stream_options = StreamOptions {
        transport: plan.transport,
        // A picture needs the transitions that are as they should be, too.
        emit_at_rest: options.filter.snapshots || options.output.perfetto.is_some() || options.draws,
        ring_bytes: options.ring_bytes.unwrap_or(StreamOptions::default().ring_bytes),
        logs: options.output.logs(),
    };
    let loaded = load_calibrated(&mut layout, stream_options, &plan.cpus);
    let (programs, reader, calibration) = loaded.map_err(|error| {
        let mut header = header_of(facts, plan, "watch");
        header.layout = Some(layout_report(&layout, false, Vec::new()));
        header.plan = plan.report(|_| (None, Proof::NotAttached));
        refuse_if_unsupported(&mut stream, options.output.format, header, error)
    })?;
    // Before there are threads: to load it, this process opens no files for a moment.
    let peek = Peek::load();
    let started = clock::now();
    let cpu_seconds_at_start = clock::cpu_seconds()?;
    let mut session = Session {
        programs,
        reader,
        pipeline: Pipeline::new(with_text(model(&layout, &calibration), facts), Vec::new()),
        books: Books::default(),
        symbols: Symbols::default(),
        stream,
        filter: options.filter.clone(),
        format: options.output.format,
        draws: options.draws,
        probes: Vec::new(),
        cpus: plan.cpus.clone(),
        closed_cpus: Vec::new(),
        unattached: Vec::new(),
        following: None,
        looks: None,
        doubts: Vec::new(),
        detached: Vec::new(),
        proven: Vec::new(),
        started,
        cpu_seconds_at_start,
        told: 0,
        record_bytes: 0,
        recorder: options.record.as_deref().map(Recorder::create).transpose()?,
        watch: Watch::default(),
        overhead: Overhead::new(options.max_overhead, started),
    };
    // What it knows is of before our own probes; it looks when they are there.
    let follower = Follower::new(Tree::live(), RunningKernel, facts.clone(), request.clone());
    let (attached, mut unseen) = session.attach(plan);
    // Nothing was counted before everything was attached: books of an entry and its exit start at once.
    session.programs.start_counting(&plan.cpus)?;
    session.prove_watchpoints()?;
    session.following = Some(Following::start(follower, &facts.livepatches, &session.probes)?);
    session.programs.give_back_memory();
    session.closed_cpus = proof::walk(&plan.cpus).context("cannot walk over the CPUs to prove the probes")?;
    session.books.update(&session.programs, &session.probes)?;
    let looks = look::all(facts, &layout, &peek, options.stall_after);
    unseen.extend(looks.iter().filter_map(|look| look.unseen()));
    let (looks, first) = Looks::start(looks)?;
    session.looks = Some(looks);
    session.send_header(facts, plan, &layout, &calibration, &attached, unseen)?;
    for (now, sighted) in first {
        session.take_sighted(now, sighted)?;
    }
    session.start_watch(request.watchpoints)?;
    for (symbol, error) in attached.iter().filter_map(Attachment::error) {
        let error = ProbeError { probe: None, symbol: symbol.to_owned(), error };
        session.tell(clock::now(), None, Message::ProbeError(error))?;
    }
    if options.self_test {
        session.self_test()?;
    }
    Ok(session)
}

/// Most refusals of the kernel mean that it, or its administrator, does not let us.
fn refused(error: BpfError) -> anyhow::Error {
    anyhow::Error::new(error)
        .context(Unsupported("this kernel does not let rcu-watch load its programs".to_owned()))
}

/// Loads the programs and holds the layout against what they read. G2 and G3 differ in the watching bit alone,
/// which no symbol or type gives away for sure: where one is contradicted, the other is tried.
pub(crate) fn load_calibrated(layout: &mut Layout, options: StreamOptions, cpus: &[CpuId]) -> Result<Loaded> {
    let sibling = match layout.generation {
        Generation::G2 => Some(Generation::G3),
        Generation::G3 => Some(Generation::G2),
        _ => None,
    };
    match (load_once(layout, options, cpus)?, sibling) {
        (Ok(loaded), _) => Ok(loaded),
        (Err(contradiction), None) => Err(unknown_layout(&contradiction)),
        (Err(contradiction), Some(sibling)) => {
            layout.set_generation(sibling);
            load_once(layout, options, cpus)?.map_err(|_| unknown_layout(&contradiction))
        }
    }
}

/// Loads, calibrates and lets go again: the layout that proved right, and what was seen.
///
/// # Errors
/// [`Unsupported`] where this kernel does not allow it, or contradicts the layout.
pub(crate) fn calibrate(facts: &Facts, cpus: &[CpuId]) -> Result<(Layout, Calibrated)> {
    let mut layout = *facts.layout.as_ref().map_err(|error| Unsupported(error.to_string()))?;
    let (_, _, calibration) = load_calibrated(&mut layout, StreamOptions::default(), cpus)?;
    Ok((layout, calibration))
}

pub(crate) type Loaded = (OwnPrograms, Reader, Calibrated);

fn load_once(
    layout: &Layout,
    options: StreamOptions,
    cpus: &[CpuId],
) -> Result<Result<Loaded, Contradiction>> {
    let (mut programs, reader) = OwnPrograms::load(layout.state, options).map_err(refused)?;
    let samples =
        programs.sample(cpus, |sample| calibration::is_eqs(&layout.state, sample)).map_err(refused)?;
    Ok(calibration::judge(&layout.state, &samples).map(|calibration| (programs, reader, calibration)))
}

fn unknown_layout(contradiction: &Contradiction) -> anyhow::Error {
    Unsupported(format!("cannot judge this kernel: {contradiction}")).into()
}

pub(crate) fn model(layout: &Layout, calibration: &Calibrated) -> KernelModel {
    let preempt = if layout.state.preempt_count_bytes == 8 {
        PreemptLayout::EIGHT_BYTES
    } else {
        PreemptLayout::FOUR_BYTES
    };
    let mut model = KernelModel::new(layout.generation, preempt);
    model.calibration = Calibration {
        task: true,
        eqs: calibration.eqs_seen,
        hardirq_bits: calibration.hardirq_seen,
        // Both fields shift together with the width of the word, and HARDIRQ was found where that width has it.
        nmi_bits: calibration.hardirq_seen,
    };
    model
}

/// Which code no probe can be in, for what NMIs interrupt.
fn with_text(mut model: KernelModel, facts: &Facts) -> KernelModel {
    if let Ok(symbols) = &facts.symbols {
        model.eqs_exit_calls_out = text::eqs_exit_calls_out(symbols);
        model.text.uninstrumentable = text::uninstrumentable(symbols);
        let is_hookable = |name: &&str| facts.traceable.contains(name) == Some(true);
        // Where none can be hooked, an NMI that finds one of them there is news.
        if points::IDLE_VICTIMS.iter().any(is_hookable) {
            model.text.known_victims = text::ranges_of(points::IDLE_VICTIMS, symbols);
        }
    }
    model
}

/// What became of one probe of the plan.
struct Attachment {
    symbol: String,
    result: Result<ProbeId, String>,
}

impl Attachment {
    fn error(&self) -> Option<(&str, String)> {
        self.result.as_ref().err().map(|error| (self.symbol.as_str(), error.clone()))
    }
}

impl Session {
    /// Attaches all of the plan that can be, in its order.
    fn attach(&mut self, plan: &AttachPlan) -> (Vec<Attachment>, Vec<header::BlindSpot>) {
        let mut unseen = Vec::new();
        let by_type =
            |planned: &&PlannedProbe| matches!(planned.probe.mechanism, Mechanism::Fentry | Mechanism::Fexit);
        self.programs.expect(plan.probes.iter().filter(by_type).map(attach_site));
        let attached: Vec<Attachment> = plan
            .probes
            .iter()
            .map(|planned| {
                let Probe { point, mechanism, symbol, .. } = &planned.probe;
                let result = self.programs.attach(*point, *mechanism, attach_site(planned));
                if let Ok(id) = result {
                    self.pipeline.set_probe(id, planned.probe.clone());
                    self.probes.push(RunningProbe { id, probe: planned.probe.clone() });
                }
                let mut result = result.map_err(|error| format!("{:#}", anyhow::Error::new(error)));
                if result.is_ok() && *mechanism == Mechanism::Watchpoint {
                    match self.open_watchpoints(&plan.watchpoint_cpus) {
                        Ok(spots) => unseen.extend(spots),
                        Err(why) => result = Err(why),
                    }
                }
                Attachment { symbol: symbol.clone(), result }
            })
            .collect();
        self.symbols.outdate();
        self.unattached = plan.unmet(|index| attached[index].result.is_ok());
        (attached, unseen)
    }

    fn send_header(
        &mut self,
        facts: &Facts,
        plan: &AttachPlan,
        layout: &Layout,
        calibration: &Calibrated,
        attached: &[Attachment],
        unseen: Vec<header::BlindSpot>,
    ) -> Result<()> {
        let state = |index: usize| match &attached[index].result {
            Err(_) => (None, Proof::Failed),
            Ok(id) => (Some(*id), self.proof(*id, &plan.probes[index].probe)),
        };
        let fired = |running: &&RunningProbe| self.books.hits(running.id) > 0;
        let proven: Vec<ProbeId> = self.probes.iter().filter(fired).map(|running| running.id).collect();
        let mut blind_spots = plan.blind_spots.clone();
        blind_spots.extend(unseen);
        if !calibration.eqs_seen {
            blind_spots.push(header::BlindSpot {
                what: "calibration of the EQS".to_owned(),
                reason: "no CPU was seen idle within 2 s".to_owned(),
                remedy: Some("start rcu-watch again when some CPU is idle".to_owned()),
            });
        }
        let mut header = header_of(facts, plan, "watch");
        header.layout = Some(layout_report(layout, true, calibration.sentences.clone()));
        header.plan = plan.report(state);
        header.blind_spots = blind_spots;
        self.proven = proven;
        let now = clock::now();
        if let Some(recorder) = &mut self.recorder {
            let planned =
                |running: &RunningProbe| NumberedProbe { id: running.id, probe: running.probe.clone() };
            let probes = self.probes.iter().map(planned).collect();
            recorder.start(&Start::new(now, &header, self.pipeline.kernel(), probes));
        }
        Ok(self.stream.send(now, None, Message::Header(Box::new(header)))?)
    }

    fn proof(&self, id: ProbeId, probe: &Probe) -> Proof {
        match probe.point {
            Point::Checkpoint => {
                let must = self.cpus.iter().filter(|cpu| !self.closed_cpus.contains(cpu));
                if must.copied().all(|cpu| self.books.fired_on(id, cpu)) {
                    Proof::Proven
                } else {
                    Proof::Silent
                }
            }
            _ if self.books.hits(id) > 0 => Proof::Proven,
            _ => Proof::Unproven,
        }
    }

    /// Sends one synthetic record from BPF; it comes back through the ring like any other.
    fn self_test(&mut self) -> Result<()> {
        let probe = Probe {
            point: Point::Checkpoint,
            mechanism: Mechanism::RawTracepoint,
            symbol: "rcuw_self_test".to_owned(),
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        let id = ProbeId(slot::SELF_TEST);
        if let Some(recorder) = &mut self.recorder {
            recorder.probe(&NumberedProbe { id, probe: probe.clone() });
        }
        self.pipeline.set_probe(id, probe.clone());
        self.probes.push(RunningProbe { id, probe });
        let cpu = self.cpus.first().copied().context("no CPU is watched; choose others with -c")?;
        Ok(self.programs.self_test(cpu)?)
    }
}

/// A header of everything but what a run finds out.
pub(crate) fn header_of(facts: &Facts, plan: &AttachPlan, command: &str) -> Header {
    let clock = Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: clock::realtime_offset() };
    Header {
        host: facts.host.clone(),
        boot_id: facts.boot_id.clone(),
        kernel: Kernel { release: facts.release.clone(), machine: facts.machine.clone() },
        transport: plan.refusals.is_empty().then_some(plan.transport),
        cpus: plan.cpus.clone(),
        handlers: facts
            .handled
            .sites
            .iter()
            .filter(|site| !site.handlers.is_empty())
            .map(|site| HandledSite {
                function: site.function.clone(),
                address: facts
                    .symbols
                    .as_ref()
                    .ok()
                    .and_then(|symbols| symbols.address(&site.function))
                    .map(Address),
                handlers: site.handlers.clone(),
            })
            .collect(),
        other_instances: facts.other_instances.clone(),
        blind_spots: plan.blind_spots.clone(),
        ..Header::new(command, clock)
    }
}

/// The layout as reports have it.
pub(crate) fn layout_report(layout: &Layout, calibrated: bool, calibration: Vec<String>) -> header::Layout {
    header::Layout {
        generation: layout.generation.to_string(),
        state_member: layout.state_member(),
        watching_mask: format!("{:#x}", layout.generation.layout().watching_mask),
        nmi_mask: format!("{:#x}", layout.state.nmi_mask),
        hardirq_mask: format!("{:#x}", layout.state.hardirq_mask),
        calibrated,
        calibration,
    }
}
