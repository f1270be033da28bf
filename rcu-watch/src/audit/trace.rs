//! The first phase: suspects for all functions at once, by ftrace's function tracer. No BPF takes part in it.
//!
//! Recording goes in short windows. Between two of them the buffers are read while nothing writes to them, so
//! that what is read is whole, and reading does not compete with what is being watched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rcu_watch_core::units::CpuId;
use serde::{Deserialize, Serialize};

use super::format::Formats;
use super::guard::Guard;
use super::instance::{self, Instance, Scope};
use super::interval::Intervals;
use super::page;
use super::progress::Progress;
use super::stop::Stop;
use super::suspect::{self, Suspect};
use crate::kernel::Facts;
use crate::kernel::facts::FtraceValidation;
use crate::kernel::line::each_line_of;
use crate::kernel::mount::Tree;
use crate::kernel::plan::glob::Glob;
use crate::kernel::plan::transition;
use crate::kernel::points;
use crate::kernel::support::Reason;
use crate::kernel::symbol::SymbolTable;
use crate::outlet;

/// One window of recording.
const WINDOW: Duration = Duration::from_millis(250);

/// How long unhooking takes, roughly: for the estimate of the time left.
const UNHOOK: Duration = Duration::from_secs(2);

/// Buffer of one CPU: more than the idle tasks write in a window.
pub(crate) const BUFFER_KIB: u32 = 1408;

/// ftrace, found to be usable here.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    tracefs: PathBuf,
    formats: Formats,
    /// CPUs with an EQS in user space: then every task is traced.
    pub all_tasks: bool,
}

/// What the first phase found; kept in `--resume`'s file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traced {
    pub suspects: Vec<Suspect>,
    /// Functions that were looked at.
    pub audited: u64,
    pub eqs_entries: u64,
    pub calls: u64,
    pub gaps: u64,
    /// Why ftrace could not be used; then the suspects are the known candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

impl Tracer {
    /// Whether the function tracer can be used here.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn find(tree: &Tree, facts: &Facts) -> Result<Self, Reason> {
        let tracefs = tree.tracefs()?;
        let read = |file: &str| {
            let path = tracefs.join(file);
            read_at_once(&path).map_err(|error| Reason::unreadable(&path, &error))
        };
        if !read("available_tracers")?.split_ascii_whitespace().any(|tracer| tracer == "function") {
            return Err(Reason::new("this kernel has no function tracer (CONFIG_FUNCTION_TRACER)"));
        }
        let enabled = tree.path("/proc/sys/kernel/ftrace_enabled");
        if fs::read_to_string(enabled).is_ok_and(|text| text.trim() == "0") {
            return Err(Reason::with_remedy("ftrace is switched off", "sysctl kernel.ftrace_enabled=1"));
        }
        if facts.ftrace_validates_rcu == FtraceValidation::Yes {
            return Err(Reason::with_remedy(
                "this kernel's ftrace refuses handlers where RCU is off, and warns of each such function",
                "`rcu-watch dmesg` finds these warnings",
            ));
        }
        let warns = facts.ftrace_validates_rcu != FtraceValidation::No;
        let panics = fs::read_to_string(tree.path("/proc/sys/kernel/panic_on_warn"));
        if warns && panics.is_ok_and(|text| text.trim() != "0") {
            return Err(Reason::with_remedy(
                "this kernel's ftrace may warn of functions that run with RCU off, and a warning would panic it",
                "sysctl kernel.panic_on_warn=0",
            ));
        }
        let user = ["user_enter", "user_exit"]
            .map(|event| read(&format!("events/context_tracking/{event}/format")).ok());
        let formats = Formats::parse(
            &read("events/header_page")?,
            &read("events/ftrace/function/format")?,
            &read("events/power/cpu_idle/format")?,
            user,
        );
        let formats =
            formats.ok_or_else(|| Reason::new("the format of this kernel's traces is not known"))?;
        let all_tasks = !facts.nohz_full.is_empty();
        Ok(Self { tracefs, formats, all_tasks })
    }

    /// How many functions there are to audit.
    ///
    /// # Errors
    /// That of reading the list.
    pub(crate) fn count(&self, functions: &[Glob]) -> Result<u64> {
        let path = self.tracefs.join("available_filter_functions");
        let mut count = 0;
        each_line_of(&path, |line| {
            let name = line.split([' ', '\t']).next().unwrap_or(line);
            count += u64::from(functions.is_empty() || functions.iter().any(|glob| glob.matches(name)));
            ControlFlow::Continue(())
        })
        .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(count)
    }

    /// Starts who will clean up, however we end. To be called while this process has one thread.
    ///
    /// # Errors
    /// Where there can be no further process or descriptor.
    pub(crate) fn guarded(&self) -> io::Result<Guarded<'_>> {
        Ok(Guarded { tracer: self, guard: instance::guard(&self.tracefs)? })
    }
}

/// A tracer, and who cleans up after it.
pub(crate) struct Guarded<'a> {
    tracer: &'a Tracer,
    guard: Guard,
}

impl Guarded<'_> {
    /// Traces for `time`, and names the suspects.
    ///
    /// # Errors
    /// Where ftrace refuses what it seemed to allow. Nothing of ours is left there in any case.
    pub(crate) fn trace(
        self,
        cpus: &[CpuId],
        functions: &[Glob],
        time: Duration,
        symbols: &SymbolTable,
        stop: &mut Stop,
        progress: &mut Progress,
    ) -> Result<Traced> {
        let Self { tracer, guard } = self;
        let scope = Scope { functions, all_tasks: tracer.all_tasks, buffer_kib: BUFFER_KIB };
        let audited = tracer.count(functions)?;
        let _live = outlet::live();
        progress.phase("1/3 hooking all functions", time);
        progress.show(0, 1, "");
        let mut instance = Instance::create(&tracer.tracefs, cpus, &scope, guard)?;
        let mut intervals = Intervals::default();
        progress.phase("1/3 tracing all functions", UNHOOK);
        let recorded = tracer.record(&mut instance, &mut intervals, time, stop, progress);
        progress.phase("1/3 unhooking all functions", Duration::ZERO);
        progress.show(0, 1, "");
        let removed = instance.remove();
        recorded.and(removed)?;
        Ok(Traced {
            suspects: suspect::name(intervals.calls(), symbols),
            audited,
            eqs_entries: intervals.entered,
            calls: intervals.functions,
            gaps: intervals.gaps,
            closed: None,
        })
    }
}

impl Tracer {
    fn record(
        &self,
        instance: &mut Instance,
        intervals: &mut Intervals,
        time: Duration,
        stop: &mut Stop,
        progress: &mut Progress,
    ) -> Result<()> {
        let mut recorded = Duration::ZERO;
        let mut broken = 0_u64;
        while recorded < time && !stop.is_asked() {
            let start = Instant::now();
            instance.record(true)?;
            stop.wait(WINDOW.min(time.saturating_sub(recorded)));
            instance.record(false)?;
            recorded += start.elapsed();
            intervals.interrupt();
            instance
                .drain(&self.formats, |cpu, bytes| {
                    if !page::entries(bytes, &self.formats, |entry| intervals.add(cpu.0, entry)) {
                        broken += 1;
                    }
                })
                .context("cannot read the trace")?;
            let note = format!("{} entries into idle", intervals.entered);
            progress.show(recorded.as_millis() as u64, time.as_millis() as u64, &note);
        }
        if broken > 0 {
            bail!("{broken} pages of the trace are not of the shape that every known kernel gives them");
        }
        Ok(())
    }
}

/// A small file by one read: of `events/header_page` the kernel gives nothing to a second one
/// (kernel/trace/trace_events.c:show_header), and the standard library's first read is a short one.
fn read_at_once(path: &Path) -> io::Result<String> {
    let mut bytes = vec![0; 64 * 1024];
    let mut length = 0;
    let mut file = File::open(path)?;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Without ftrace: functions that some kernel runs with RCU off, as far as this one has them.
#[must_use]
pub(crate) fn candidates(facts: &Facts, functions: &[Glob], closed: &Reason) -> Traced {
    let wanted = |name: &&str| functions.is_empty() || functions.iter().any(|glob| glob.matches(name));
    let is_there = |name: &&str| {
        facts.symbols.as_ref().is_ok_and(|symbols| symbols.has(name))
            && facts.traceable.contains(name) != Some(false)
    };
    let ways_in = transition::TRANSITIONS.iter().filter(|one| one.end.is_some()).map(|one| one.function);
    let names: BTreeSet<&str> =
        points::IDLE_VICTIMS.iter().chain(points::RCU_INTERNAL).copied().chain(ways_in).collect();
    let suspects: Vec<Suspect> =
        names.iter().copied().filter(|name| wanted(name) && is_there(name)).map(Suspect::untraced).collect();
    Traced { audited: suspects.len() as u64, suspects, closed: Some(closed.to_string()), ..Traced::default() }
}
