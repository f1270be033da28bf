//! What a run looks like, to the letter: each file in tests/golden is an output as a person or a pipeline
//! gets it.

use std::fs;
use std::path::Path;

use rcu_watch::sink::Sink;
use rcu_watch::sink::Stream;
use rcu_watch::sink::json::Json;
use rcu_watch::sink::ktap::Ktap;
use rcu_watch::sink::names::{Comments, Names};
use rcu_watch::sink::text::{Look, Text};
use rcu_watch_core::Severity;
use rcu_watch_core::probe::{Mechanism, Owner, Reliance};
use rcu_watch_core::report::audit::{AuditVerdict, AuditedFunction, Observed};
use rcu_watch_core::report::handler_change::{Basis, Census, ChangeKind, ListedOn, StateBefore, Uncompared};
use rcu_watch_core::report::handlers::{HandlerState, HookKind};
use rcu_watch_core::report::{
    Baseline, HandlerChange, HandlerChangeTotals, HandlerReport, HandlerTotals, Message,
};
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::verdict::{Exit, FailOn};

use crate::paper::{Paper, assert_golden};
use crate::sample;

fn play(sink: Box<dyn Sink>, said: Vec<(u64, Option<u32>, Message)>) {
    let mut stream = Stream::new(sink, Baseline::default());
    for (ts_ns, cpu, message) in said {
        stream.send(Nanos(ts_ns), cpu.map(CpuId), message).expect("paper is patient");
    }
    stream.finish(Exit::Clean).expect("paper is patient");
}

/// Standard output and standard error of the text sink.
fn screen(look: Look, said: Vec<(u64, Option<u32>, Message)>) -> (String, String) {
    let (out, err) = (Paper::default(), Paper::default());
    play(Box::new(Text::new(out.clone(), err.clone(), look)), said);
    (out.text(), err.text())
}

fn clean_run() -> Vec<(u64, Option<u32>, Message)> {
    vec![
        (0, None, Message::Header(Box::new(sample::header("watch")))),
        (31_000_000_000, None, Message::Summary(Box::new(sample::clean_summary()))),
    ]
}

#[test]
fn a_broken_run_on_the_screen() {
    let (out, err) = screen(Look::default(), sample::broken_run());
    assert_golden("broken.out.txt", &out);
    assert_golden("broken.err.txt", &err);
}

#[test]
fn a_broken_run_in_colour_with_all_details() {
    let (out, err) = screen(Look { color: true, verbose: true, ..Look::default() }, sample::broken_run());
    assert_golden("verbose.out.txt", &out);
    assert_golden("verbose.err.txt", &err);
}

#[test]
fn a_clean_run_is_not_blank_but_prints_no_finding() {
    let (out, err) = screen(Look::default(), clean_run());
    assert_eq!(out, "");
    assert_golden("clean.err.txt", &err);
}

#[test]
fn a_printed_plan_has_no_verdict() {
    let said = vec![
        (0, None, Message::Header(Box::new(sample::header("probes")))),
        (1, None, Message::Summary(Box::new(sample::clean_summary()))),
    ];
    let (out, err) = screen(Look::default(), said);
    assert_golden("probes.out.txt", &out);
    assert!(!err.contains("no break"), "{err}");
}

#[test]
fn what_changed_between_two_censuses_is_a_table_of_the_changes_alone() {
    let handler = |kind, name: &str, function: &str| HandlerReport {
        function: Some(function.to_owned()),
        ..HandlerReport::new(kind, name.to_owned(), Reliance::Relies)
    };
    let module = Some(Owner::Module { name: "demo".to_owned() });
    let gone = HandlerReport {
        program: Some(17),
        owner: Some(Owner::Process {
            pid: 4711,
            comm: "bpftrace".to_owned(),
            cgroup: Some("session-3.scope".to_owned()),
            container: None,
            others: 0,
        }),
        ..handler(HookKind::Fentry, "trace_truncate", "vfs_truncate")
    };
    let mut silent =
        HandlerReport { owner: module, ..handler(HookKind::Kprobe, "do_nanosleep+0x0", "do_nanosleep") };
    silent.stop(HandlerState::Dead, "kprobes are switched off: kprobes/enabled is 0");
    let alive = StateBefore { state: HandlerState::Alive, because: None };
    let off = StateBefore { state: HandlerState::Off, because: Some("no instance has it on".to_owned()) };
    let back = handler(HookKind::Kprobe, "lab/site", "vfs_fsync_range");
    let totals = HandlerChangeTotals {
        new: 0,
        gone: 1,
        silent: 1,
        back: 1,
        unchanged: 12,
        untold: 2,
        basis: Basis::Names,
        old: ListedOn { host: "lab".into(), boot_id: "b".into(), release: "6.12.0".into() },
        uncompared: vec![Uncompared { list: "BPF programs".into(), unread: Census::Old }],
    };
    let change =
        |change, handler, before| Message::HandlerChange(Box::new(HandlerChange { change, handler, before }));
    let not_listed = handler(HookKind::Livepatch, "lp", "arch_cpu_idle");
    let said = vec![
        (0, None, Message::Header(Box::new(sample::header("handlers")))),
        (1, None, change(ChangeKind::Gone, gone, None)),
        (1, None, change(ChangeKind::Silent, silent, Some(alive))),
        (1, None, change(ChangeKind::Back, back, Some(off))),
        (1, None, Message::HandlerChangeTotals(Box::new(totals))),
        (1, None, Message::Handler(Box::new(not_listed.clone()))),
        (1, None, Message::HandlerTotals(HandlerTotals::of(&[not_listed], 0))),
    ];
    let (out, err) = screen(Look::default(), said);
    assert_golden("handlers-diff.out.txt", &out);
    assert_golden("handlers-diff.err.txt", &err);
}

fn audited(function: &str, verdict: AuditVerdict, traced: u64, seen: Option<(u64, u64)>) -> AuditedFunction {
    let observed = seen.map(|(unwatched, calls)| Observed {
        mechanism: Mechanism::Fentry,
        calls,
        unwatched,
        seconds: 3.0,
        state: None,
        handlers: Vec::new(),
    });
    AuditedFunction {
        function: function.to_owned(),
        module: None,
        verdict,
        traced,
        caller: Some("default_idle_call".to_owned()),
        observed,
        reason: None,
    }
}

/// An audit with a function of every verdict, which was ended before its time.
fn audit() -> Vec<(u64, Option<u32>, Message)> {
    let mut found = vec![
        audited("arch_cpu_idle", AuditVerdict::Exposed, 118, Some((118, 118))),
        audited("rcu_idle_exit", AuditVerdict::RcuInternal, 9, None),
        audited("my_idle", AuditVerdict::NotProbed, 1, None),
        audited("acpi_idle_enter", AuditVerdict::NotSeen, 0, Some((0, 0))),
        audited("tick_nohz_idle_enter", AuditVerdict::Watched, 40, Some((0, 40))),
    ];
    found[2].module = Some("my_driver".to_owned());
    found[2].reason = Some("the audit was ended before".to_owned());
    let mut summary = sample::clean_summary();
    summary.reasons = vec!["the audit was ended before its time; --resume FILE lets it go on".to_owned()];
    let mut said = vec![(0, None, Message::Header(Box::new(sample::header("audit"))))];
    said.extend(found.into_iter().map(|audited| (1, None, Message::Audited(Box::new(audited)))));
    said.push((2, None, Message::Summary(Box::new(summary))));
    said
}

#[test]
fn an_audit_as_a_deny_list() {
    let out = Paper::default();
    play(Box::new(Names::new(out.clone(), Comments::Reasons)), audit());
    assert_golden("audit.names", &out.text());
}

#[test]
fn an_audit_as_the_words_that_retsnoop_reads() {
    let out = Paper::default();
    play(Box::new(Names::new(out.clone(), Comments::None)), audit());
    assert_eq!(out.text(), "arch_cpu_idle\nrcu_idle_exit\nmy_idle\nacpi_idle_enter\n");
}

#[test]
fn every_message_as_ndjson() {
    let out = Paper::default();
    play(Box::new(Json::new(out.clone())), sample::broken_run());
    assert_golden("run.ndjson", &out.text());
}

#[test]
fn ndjson_is_numbered_without_gaps_from_header_to_summary() {
    let out = Paper::default();
    play(Box::new(Json::new(out.clone())), sample::broken_run());
    let lines: Vec<serde_json::Value> =
        out.text().lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect();
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().expect("a number")).collect();
    assert_eq!(seqs, (0..lines.len() as u64).collect::<Vec<_>>());
    assert_eq!(lines[0]["type"], "header");
    assert_eq!(lines.last().expect("there is one")["type"], "summary");
    assert!(lines[0].get("cpu").is_none() && lines[1]["cpu"] == 1);
}

#[test]
fn every_line_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.json");
    let schema = fs::read_to_string(path).expect("docs/schema.json is there");
    let schema = serde_json::from_str(&schema).expect("it is JSON");
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    let out = Paper::default();
    play(Box::new(Json::new(out.clone())), sample::broken_run());
    for line in out.text().lines() {
        let mut line = serde_json::from_str(line).expect("each line is an object");
        let errors: Vec<_> = validator.iter_errors(&line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}\n{errors:#?}");
        // And it is no rubber stamp.
        line["ts_ns"] = 5.into();
        assert!(!validator.is_valid(&line), "{line}");
    }
}

#[test]
fn a_broken_run_as_ktap() {
    let out = Paper::default();
    play(Box::new(Ktap::new(out.clone(), FailOn::Error)), sample::broken_run());
    assert_golden("broken.ktap", &out.text());
}

#[test]
fn ktap_passes_what_is_below_fail_on_or_in_the_baseline() {
    let verdict = |fail_on, baseline: &str| {
        let out = Paper::default();
        let baseline = Baseline::read(baseline.lines()).expect("it is a stream");
        let mut stream = Stream::new(Box::new(Ktap::new(out.clone(), fail_on)), baseline);
        for (ts_ns, cpu, message) in sample::broken_run() {
            stream.send(Nanos(ts_ns), cpu.map(CpuId), message).expect("paper is patient");
        }
        let line = out.text().lines().find(|line| line.contains("ok 1 ")).expect("a test a rule").to_owned();
        (line, stream.worst())
    };
    let header = r#"{"type":"header"}"#;
    let known = format!(
        "{header}\n{{\"type\":\"finding\",\"data\":{{\"fingerprint\":\"{}\"}}}}",
        sample::finding().fingerprint
    );
    assert_eq!(
        verdict(FailOn::Error, header),
        ("not ok 1 RW001 handler-unwatched".into(), Some(Severity::Error))
    );
    assert_eq!(verdict(FailOn::Never, header).0, "ok 1 RW001 handler-unwatched");
    assert_eq!(verdict(FailOn::Error, &known), ("ok 1 RW001 handler-unwatched".into(), None));
}
