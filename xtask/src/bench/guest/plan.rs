//! What is run in the guest that counts: each observer around the same work.

use std::time::Duration;

use clap::ValueEnum;
use xtask::plan::Step;

use super::bpftrace;

/// The function that the work calls; a kprobe of tracefs is its foreign handler, so that the default plan hooks it.
const FUNCTION: &str = "security_task_prctl";
const KPROBES: &str = "/sys/kernel/tracing/kprobe_events";
const KPROBE: &str = "/sys/kernel/tracing/events/kprobes/lab_bench/enable";

/// Virtual time, of which hardly any passes while the guest is idle.
const LIMIT: Duration = Duration::from_secs(900);

/// Where an observer writes, for its lines to be counted.
const OUTPUT: &str = "/tmp/out";
const RESULT: &str = "/tmp/work";

/// The work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Two context switches a round.
    PingPong,
    /// A system call whose function has a handler.
    Prctl,
    /// The observer's own programs, run by hand.
    Programs,
}

impl Work {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PingPong => "pingpong",
            Self::Prctl => "prctl",
            Self::Programs => "programs",
        }
    }

    const fn count(self) -> u32 {
        match self {
            Self::PingPong => 4000,
            Self::Prctl => 8000,
            Self::Programs => 1000,
        }
    }
}

/// Who looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Observer {
    Nobody,
    EmptyTracepoint,
    EmptyFunction,
    #[value(name = "rcu-watch")]
    Default,
    #[value(name = "rcu-watch-all")]
    All,
    #[value(name = "rcu-watch-always")]
    Always,
    #[value(name = "bpftrace")]
    BpftraceQuiet,
    BpftraceAll,
    BpftraceJson,
}

impl Observer {
    pub(super) const ALL: [Self; 9] = [
        Self::Nobody,
        Self::EmptyTracepoint,
        Self::EmptyFunction,
        Self::Default,
        Self::All,
        Self::Always,
        Self::BpftraceQuiet,
        Self::BpftraceAll,
        Self::BpftraceJson,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::EmptyTracepoint => "empty-tracepoint",
            Self::EmptyFunction => "empty-function",
            Self::Default => "rcu-watch",
            Self::All => "rcu-watch-all",
            Self::Always => "rcu-watch-always",
            Self::BpftraceQuiet => "bpftrace",
            Self::BpftraceAll => "bpftrace-all",
            Self::BpftraceJson => "bpftrace-json",
        }
    }

    pub(super) const fn is_bpftrace(self) -> bool {
        matches!(self, Self::BpftraceQuiet | Self::BpftraceAll | Self::BpftraceJson)
    }

    /// What is done under its eyes.
    const fn works(self) -> &'static [Work] {
        match self {
            Self::Nobody => &[Work::PingPong, Work::Prctl],
            Self::EmptyTracepoint => &[Work::PingPong],
            Self::EmptyFunction | Self::All | Self::BpftraceAll | Self::BpftraceJson => &[Work::Prctl],
            Self::Default | Self::BpftraceQuiet => &[Work::PingPong, Work::Prctl, Work::Programs],
            Self::Always => &[Work::PingPong, Work::Programs],
        }
    }

    fn work(self) -> Vec<String> {
        let items = self.works().iter().map(|work| format!("{}:{}", work.name(), work.count()));
        ["/bin/lab-work".to_owned(), RESULT.to_owned()].into_iter().chain(items).collect()
    }

    fn command(self) -> Vec<String> {
        let around = |words: &[&str]| words.iter().map(|&word| word.to_owned()).chain(self.work()).collect();
        let script = |path: &str, format: &str| {
            let words =
                ["bpftrace", "-f", format, "-o", OUTPUT, &format!("/{path}"), "-c", &self.work().join(" ")];
            words.map(str::to_owned).to_vec()
        };
        match self {
            Self::Nobody => self.work(),
            Self::EmptyTracepoint => around(&["lab-empty", "tracepoint", "sched_switch"]),
            Self::EmptyFunction => around(&["lab-empty", "function", FUNCTION]),
            Self::Default => around(&["rcu-watch", "-f", "json", "-o", OUTPUT, "--"]),
            Self::All => around(&["rcu-watch", "-f", "json", "-o", OUTPUT, "--stream", "all", "--"]),
            Self::Always => {
                around(&["rcu-watch", "-f", "json", "-o", OUTPUT, "--watchpoints", "always", "--"])
            }
            Self::BpftraceQuiet => script(bpftrace::QUIET_PATH, "text"),
            Self::BpftraceAll => script(bpftrace::ALL_PATH, "text"),
            Self::BpftraceJson => script(bpftrace::ALL_PATH, "json"),
        }
    }
}

pub(super) fn steps(observers: &[Observer]) -> Vec<Step> {
    let write = |path: &str, value: &str| Step::WriteFile { path: path.into(), value: value.into() };
    // What the kernel still has to do after boot is done by then: on 7.2 the first work to be measured was charged with
    // 12,000 instructions a switch that none of the later were.
    let settled = Step::Sleep { time: Duration::from_secs(20) };
    let mut steps = vec![settled, write(KPROBES, &format!("p:lab_bench {FUNCTION}")), write(KPROBE, "1")];
    steps.extend(observers.iter().map(|observer| {
        let mut argv = vec!["lab-observe".to_owned(), observer.name().into(), OUTPUT.into()];
        argv.extend(observer.command());
        Step::Run { label: observer.name().into(), limit: LIMIT, argv }
    }));
    steps
}
