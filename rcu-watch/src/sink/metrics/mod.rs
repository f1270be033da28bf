//! `--metrics ADDR`: what a run counts, as OpenMetrics text over HTTP.
//!
//! The sink keeps the counts; one thread answers scrapes ([`serve`]), many at once. It never answers anything but the
//! metrics, and listens on the loopback device unless told otherwise.

mod serve;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::{Envelope, FindingReport, Heartbeat, Message};
use rcu_watch_core::stream::Seen;

use crate::sink::Sink;

#[derive(Debug, Default)]
struct Counts {
    version: Cow<'static, str>,
    kernel: String,
    findings: BTreeMap<RuleId, u64>,
    /// Handlers of which the kernel skipped runs, by the id of the finding that told it.
    skipped: BTreeMap<u32, Skipped>,
    /// Records by point: what was seen of each transition.
    records: BTreeMap<Point, u64>,
    lost: u64,
    missed: u64,
    now: Heartbeat,
}

/// Runs of somebody's handler that the kernel skipped.
#[derive(Debug)]
struct Skipped {
    handler: String,
    owner: String,
    count: u64,
}

impl Skipped {
    /// The first of them.
    fn new(finding: &FindingReport) -> Self {
        let handler = finding.handlers.first();
        let owner = handler.and_then(|handler| handler.owner.as_ref());
        Self {
            handler: handler.map_or_else(|| finding.function.clone(), |handler| handler.name.clone()),
            owner: owner.map(ToString::to_string).unwrap_or_default(),
            count: 1,
        }
    }
}

pub(crate) struct Metrics {
    counts: Arc<Mutex<Counts>>,
}

impl Metrics {
    /// Answers who asks at `address`, from a thread of its own until the process ends.
    pub(crate) fn answer(address: SocketAddr) -> io::Result<Self> {
        Self::listen(address).map(|(metrics, _)| metrics)
    }

    fn listen(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let counts = Arc::new(Mutex::new(Counts::default()));
        let answers = Arc::clone(&counts);
        let render = move || render(&answers.lock().unwrap_or_else(PoisonError::into_inner));
        listen(address, render).map(|address| (Self { counts }, address))
    }

    fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Sink for Metrics {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.update(|counts| match &envelope.message {
            Message::Header(header) => {
                counts.version.clone_from(&header.version);
                counts.kernel.clone_from(&header.kernel.release);
            }
            Message::Finding(finding) => {
                *counts.findings.entry(finding.rule).or_default() += 1;
                if finding.rule == RuleId::HandlerMissed {
                    counts.skipped.insert(finding.id, Skipped::new(finding));
                }
            }
            Message::Repeat(repeat) => {
                *counts.findings.entry(repeat.rule).or_default() += repeat.count;
                if let Some(skipped) = counts.skipped.get_mut(&repeat.id) {
                    skipped.count += repeat.count;
                }
            }
            Message::Lost(lost) => counts.lost += lost.count,
            Message::Missed(missed) => counts.missed += missed.count,
            _ => {}
        });
        Ok(())
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.update(|counts| *counts.records.entry(seen.point).or_default() += 1);
        Ok(())
    }

    fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        self.update(|counts| counts.now = now.clone());
        Ok(())
    }
}

/// OpenMetrics 1.0: each family with its type and help, counters with `_total`, `# EOF` last.
fn render(counts: &Counts) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let _ = writeln!(text, "# TYPE rcu_watch_{name} {kind}\n# HELP rcu_watch_{name} {help}");
        for (labels, value) in samples {
            let _ = writeln!(text, "rcu_watch_{name}{suffix}{labels} {value}");
        }
    };
    let build = format!("{{version=\"{}\",kernel=\"{}\"}}", escape(&counts.version), escape(&counts.kernel));
    family(
        "build",
        "info",
        "Version of rcu-watch and the kernel that it watches.",
        &[(build, "1".to_owned())],
    );
    // Every rule from the start, so that an increase from 0 is seen.
    let findings: Vec<_> = RuleId::ALL
        .iter()
        .map(|rule| {
            let count = counts.findings.get(rule).copied().unwrap_or(0);
            (format!("{{rule=\"{}\",name=\"{}\"}}", rule.code(), rule.name()), count.to_string())
        })
        .collect();
    family("findings", "counter", "Hits that a rule fired on.", &findings);
    // A program can have a counter of its own and one of its link: samples of a family differ by their labels.
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    for Skipped { handler, owner, count } in counts.skipped.values() {
        let labels = format!("{{handler=\"{}\",owner=\"{}\"}}", escape(handler), escape(owner));
        *skipped.entry(labels).or_default() += count;
    }
    let skipped: Vec<_> = skipped.into_iter().map(|(labels, count)| (labels, count.to_string())).collect();
    let help = "Runs of somebody's handler that the kernel skipped, in this run.";
    family("handler_missed", "counter", help, &skipped);
    let records: Vec<_> = counts
        .records
        .iter()
        .map(|(point, count)| (format!("{{point=\"{}\"}}", point.name()), count.to_string()))
        .collect();
    family("records", "counter", "Records delivered, by probe point.", &records);
    for (name, help, count) in [
        ("context_switches", "Context switches judged.", counts.now.checkpoints),
        ("handler_calls", "Runs of probes on functions with handlers.", counts.now.handler_calls),
        ("idle_entries", "Entries into idle seen.", counts.now.idle_entries),
        ("nmis", "NMIs seen.", counts.now.nmis),
        ("lost_records", "Records that the ring buffer had no room for.", counts.lost),
        ("missed_runs", "Probe runs that the kernel skipped.", counts.missed),
        ("hits", "Runs of all probes.", counts.now.hits),
        ("record_bytes", "Bytes of the records that were delivered.", counts.now.record_bytes),
    ] {
        family(name, "counter", help, &[(String::new(), count.to_string())]);
    }
    let seconds = |seconds: f64| (String::new(), seconds.to_string());
    let user = [seconds(counts.now.user_cpu_seconds)];
    family("user_cpu_seconds", "counter", "CPU time of rcu-watch itself, user and system.", &user);
    // No sample where the kernel does not count it: kernel.bpf_stats_enabled.
    let bpf: Vec<_> = counts.now.bpf_run_seconds.map(seconds).into_iter().collect();
    family("bpf_run_seconds", "counter", "Run time of the BPF programs.", &bpf);
    let mut overhead = vec![("{part=\"user\"}".to_owned(), ratio(counts.now.user_cost_percent))];
    overhead.extend(counts.now.kernel_cost_percent.map(|cost| ("{part=\"bpf\"}".to_owned(), ratio(cost))));
    family("overhead_ratio", "gauge", "CPU time over elapsed time: user of one CPU, bpf of all.", &overhead);
    text + "# EOF\n"
}

fn ratio(percent: f64) -> String {
    (percent / 100.0).to_string()
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Answers at `address` from a thread of its own until the process ends; where that is.
///
/// # Errors
/// Where nobody can listen there.
fn listen(
    address: SocketAddr,
    render: impl Fn() -> String + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        let accept = async || listener.accept().await.map(|(scraper, _)| scraper);
        runtime.block_on(serve::serve(address, accept, render))
    })?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use rcu_watch_core::Severity;
    use rcu_watch_core::condition::Condition;
    use rcu_watch_core::probe::{Handler, HandlerKind, Owner, Reliance};
    use rcu_watch_core::report::{Lost, Repeat};
    use rcu_watch_core::units::{CpuId, Nanos};

    /// What a run counts, and where it answers: at a port that the kernel chose.
    fn serve() -> (Metrics, SocketAddr) {
        Metrics::listen("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn scrape(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn send(metrics: &mut Metrics, message: Message) {
        metrics.message(&Envelope { seq: 0, ts_ns: Nanos(0), cpu: None, message }).unwrap();
    }

    #[test]
    fn a_scrape_gives_what_was_counted() {
        let (mut metrics, address) = serve();
        let (rule, function) = (RuleId::HandlerUnwatched, "arch_cpu_idle".to_owned());
        send(
            &mut metrics,
            Message::Repeat(Repeat { id: 1, rule, function, count: 41, last_ts_ns: Nanos(1) }),
        );
        let symbol = "arch_cpu_idle".to_owned();
        send(
            &mut metrics,
            Message::Lost(Lost { probe: rcu_watch_core::units::ProbeId(0), symbol, count: 7 }),
        );
        let seen = Seen {
            ts: Nanos(1),
            cpu: CpuId(0),
            point: Point::EqsEnter,
            symbol: "cpu_idle",
            watching: true,
            hardirq: false,
            nmi: false,
            pid: 0,
            arg: 0,
        };
        metrics.observe(&seen).unwrap();
        let now = Heartbeat {
            hits: 9,
            record_bytes: 128,
            user_cpu_seconds: 0.25,
            bpf_run_seconds: Some(0.5),
            ..Heartbeat::default()
        };
        metrics.status(&now).unwrap();
        let answer = scrape(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("openmetrics-text"), "{head}");
        for line in [
            "rcu_watch_findings_total{rule=\"RW001\",name=\"handler-unwatched\"} 41",
            "rcu_watch_findings_total{rule=\"RW002\",name=\"irq-enter-no-effect\"} 0",
            "rcu_watch_records_total{point=\"eqs_enter\"} 1",
            "rcu_watch_lost_records_total 7",
            "rcu_watch_hits_total 9",
            "rcu_watch_record_bytes_total 128",
            "rcu_watch_user_cpu_seconds_total 0.25",
            "rcu_watch_bpf_run_seconds_total 0.5",
        ] {
            assert!(body.lines().any(|l| l == line), "{line}\n{body}");
        }
        assert!(body.ends_with("# EOF\n"));
    }

    #[test]
    fn skipped_runs_are_counted_by_handler_and_owner() {
        let (rule, function) = (RuleId::HandlerMissed, "vfs_read".to_owned());
        let handler = Handler {
            kind: HandlerKind::Kprobe,
            name: "lab/ret".to_owned(),
            event: None,
            program: None,
            reliance: Reliance::Relies,
            ours: false,
            owner: Some(Owner::Instance { name: Some("mine".to_owned()) }),
        };
        let condition = Condition {
            handlers: vec![handler],
            ..Condition::new(rule, Severity::Warning, function.clone(), "skipped".to_owned())
        };
        let counts = Arc::<Mutex<Counts>>::default();
        let mut metrics = Metrics { counts: Arc::clone(&counts) };
        let finding = FindingReport::of_condition(&condition, 3, String::new());
        send(&mut metrics, Message::Finding(Box::new(finding)));
        for (id, count) in [(3, 201), (4, 1)] {
            let function = function.clone();
            send(&mut metrics, Message::Repeat(Repeat { id, rule, function, count, last_ts_ns: Nanos(1) }));
        }
        let text = render(&counts.lock().unwrap());
        let line = "rcu_watch_handler_missed_total{handler=\"lab/ret\",owner=\"tracefs instance mine\"} 202";
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[test]
    fn every_sample_has_its_family_declared_before() {
        let text = render(&Counts { version: "1".into(), kernel: "a\"b".into(), ..Counts::default() });
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} is not of {family}");
            }
        }
        assert!(text.contains("kernel=\"a\\\"b\""));
    }
}
