//! One run of `watch`: from the attach plan to the summary.
//!
//! [`start()`] loads, calibrates, attaches and proves; [`run()`] drains until something ends it; `summary`
//! detaches and closes the books. In between this module tells what the pipeline and the counters say.

#[doc(hidden)]
pub mod books;
#[doc(hidden)]
pub mod budget;
mod child;
mod duty;
mod ending;
mod follow;
mod host;
mod look;
pub(crate) mod options;
mod overhead;
mod proof;
pub(crate) mod refusal;
mod run;
pub(crate) mod signals;
pub(crate) mod start;
mod summary;
pub(crate) mod symbols;
mod watch;

pub use child::RunningCommand;
pub use ending::wait_for_ftrace;
pub use options::WatchOptions;
pub use run::run;
pub use signals::Signals;
pub use start::start;
pub use summary::Terms;

use anyhow::Result;
use rcu_watch_core::pipeline::Pipeline;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::{Heartbeat, Message};
use rcu_watch_core::stream::{Filter, StreamListener};
use rcu_watch_core::units::{CpuId, Nanos, ProbeId};
use rcu_watch_core::verdict;

use crate::bpf::attach::AttachSite;
use crate::bpf::{Drained, OwnPrograms, Reader};
use crate::clock;
use crate::kernel::plan::PlannedProbe;
use crate::recording::Recorder;
use crate::sink::Stream;
use crate::sink::options::Format;

use books::Books;
use follow::Following;
use host::LiveHost;
use look::Looks;
use overhead::Overhead;
use symbols::Symbols;
use watch::Watch;

/// An attached probe.
#[derive(Clone, Debug)]
pub(crate) struct RunningProbe {
    pub id: ProbeId,
    pub probe: Probe,
}

/// Where a probe of the plan is to sit.
fn attach_site(planned: &PlannedProbe) -> AttachSite<'_> {
    AttachSite { symbol: &planned.probe.symbol, offset: planned.offset, type_id: planned.type_id }
}

/// A run that is under way.
pub struct Session {
    programs: OwnPrograms,
    reader: Reader,
    pipeline: Pipeline,
    books: Books,
    symbols: Symbols,
    stream: Stream,
    filter: Filter,
    format: Format,
    /// Somebody looks on: counts are told at once.
    draws: bool,
    probes: Vec<RunningProbe>,
    cpus: Vec<CpuId>,
    /// Chosen CPUs on which this process may not run, so that nothing could be made to happen there.
    closed_cpus: Vec<CpuId>,
    /// Required points that could not be attached, a sentence each.
    unattached: Vec<String>,
    /// Tells whose handlers come and go; `None` until the plan is attached.
    following: Option<Following>,
    /// Looks at what no probe can see; `None` until the plan is attached.
    looks: Option<Looks>,
    /// Why the run is inconclusive, by what the looks found, a sentence each.
    doubts: Vec<String>,
    /// Probes of functions that nobody else is on any more.
    detached: Vec<ProbeId>,
    /// Probes that are known to fire, and were told as such.
    proven: Vec<ProbeId>,
    started: Nanos,
    cpu_seconds_at_start: f64,
    told: u64,
    /// Of records that were delivered.
    record_bytes: u64,
    recorder: Option<Recorder>,
    watch: Watch,
    overhead: Overhead,
}

impl Session {
    /// Takes up to `most` records from the ring to the rules.
    fn drain(&mut self, most: usize) -> Result<Drained> {
        let Self { reader, pipeline, symbols, stream, filter, told, record_bytes, recorder, watch, .. } =
            self;
        let host = LiveHost { symbols, recorder: recorder.as_mut(), causes: &mut watch.causes };
        let mut listener = StreamListener::new(stream, host, filter);
        let drained = reader.drain(most, |record| {
            *record_bytes += record.len() as u64;
            pipeline.push(record, &mut listener);
            if let Some(recorder) = &mut listener.host.recorder {
                recorder.record(record);
            }
        });
        *told += listener.told();
        let heard = listener.take_error();
        self.programs.flush_log();
        heard?;
        stream.flush()?;
        Ok(drained)
    }

    /// Takes all that the ring holds now, and not what a flood puts there meanwhile.
    fn drain_all(&mut self) -> Result<Drained> {
        self.drain(self.reader.room())
    }

    /// Tells what no record makes.
    fn tell(&mut self, now: Nanos, cpu: Option<CpuId>, message: Message) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.said(now, cpu, &message);
        }
        Ok(self.stream.send(now, cpu, message)?)
    }

    /// Tells of records that found no room and of runs that the kernel skipped.
    fn tell_losses(&mut self) -> Result<()> {
        self.books.update(&self.programs, &self.probes)?;
        let now = clock::now();
        for (cpu, lost) in self.books.newly_lost(&self.probes) {
            self.tell(now, Some(cpu), Message::Lost(lost))?;
        }
        for missed in self.books.newly_missed(&self.programs, &self.probes)? {
            self.tell(now, None, Message::Missed(missed))?;
        }
        Ok(())
    }

    /// Tells how often findings came again.
    fn tell_repeats(&mut self) -> Result<()> {
        let now = clock::now();
        for repeat in verdict::repeats(&mut self.pipeline, |rule| self.filter.tells(rule)) {
            self.stream.send(now, None, Message::Repeat(repeat))?;
        }
        Ok(())
    }

    /// NMIs as the tracepoint saw them; the probes on single handlers see the same ones again.
    fn nmis(&self) -> u64 {
        let all = self.probes.iter().filter(|running| running.probe.point == Point::NmiEnter);
        let of_tracepoint = all.filter(|running| running.probe.mechanism == Mechanism::RawTracepoint);
        of_tracepoint.map(|running| self.books.hits(running.id)).sum()
    }

    fn status(&mut self) -> Result<()> {
        self.follow_hotplug()?;
        self.tell_losses()?;
        self.keep_budget()?;
        if self.draws {
            self.tell_repeats()?;
        }
        self.tell_proofs()?;
        let now = self.progress()?;
        Ok(self.stream.status(&now)?)
    }

    fn heartbeat(&mut self) -> Result<()> {
        self.tell_losses()?;
        self.tell_repeats()?;
        let now = self.progress()?;
        Ok(self.stream.send(clock::now(), None, Message::Heartbeat(now))?)
    }

    fn progress(&self) -> Result<Heartbeat> {
        let elapsed = clock::now().0.saturating_sub(self.started.0);
        let seconds = (elapsed as f64 / 1e9).max(1e-3);
        let hits = |is_point: fn(Point) -> bool| -> u64 {
            let of = |running: &&RunningProbe| is_point(running.probe.point);
            self.probes.iter().filter(of).map(|running| self.books.hits(running.id)).sum()
        };
        let findings = self.pipeline.totals().iter().filter(|total| self.filter.tells(total.rule));
        let cpu_seconds = clock::cpu_seconds()?;
        let bpf_seconds = self.bpf_run_seconds();
        let cpus = self.cpus.len().max(1) as f64;
        Ok(Heartbeat {
            elapsed_ns: Nanos(elapsed),
            checkpoints: hits(|point| point == Point::Checkpoint),
            handler_calls: hits(|point| matches!(point, Point::PatchedFunction | Point::FtraceFunction)),
            idle_entries: hits(|point| point == Point::EqsEnter),
            nmis: self.nmis(),
            findings: findings.map(|total| total.count).sum(),
            lost: self.books.lost(),
            missed: self.books.missed(),
            hits: hits(|_| true),
            record_bytes: self.record_bytes,
            user_cpu_seconds: cpu_seconds,
            bpf_run_seconds: bpf_seconds,
            user_cost_percent: (cpu_seconds - self.cpu_seconds_at_start) / seconds * 100.0,
            kernel_cost_percent: bpf_seconds.map(|bpf| bpf / seconds / cpus * 100.0),
        })
    }

    /// Run time of all programs; `None` where the kernel does not count it.
    fn bpf_run_seconds(&self) -> Option<f64> {
        let mut programs: Vec<&RunningProbe> = self.probes.iter().collect();
        // eqs_enter and eqs_exit share a program.
        programs.dedup_by_key(|running| (running.probe.mechanism, running.probe.symbol.clone()));
        let run_time = programs
            .iter()
            .map(|running| self.programs.stats(running.id).map_or(0, |stats| stats.run_time_ns));
        let sum: u64 = run_time.sum();
        (sum > 0).then_some(sum as f64 / 1e9)
    }
}
