//! The `jq` pipelines that README, docs and help print, run as printed over a stream that was recorded.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rcu_watch::sink::Stream;
use rcu_watch::sink::json::Json;
use rcu_watch_core::probe::Reliance;
use rcu_watch_core::report::audit::{AuditVerdict, AuditedFunction};
use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};
use rcu_watch_core::report::handler_change::ChangeKind;
use rcu_watch_core::report::handlers::HookKind;
use rcu_watch_core::report::{Baseline, HandlerChange, HandlerReport, Message};
use rcu_watch_core::units::{CpuId, Nanos};

use crate::paper::Paper;
use crate::sample;

const PAGES: [&str; 4] = ["README.md", "docs/json.md", "docs/ci.md", "docs/architecture.md"];
const COMMANDS: [&str; 6] = ["watch", "audit", "check", "doctor", "replay", "dmesg"];

/// What stands behind the first pipe of each line that pipes into jq.
fn pipelines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.contains("rcu-watch"))
        .filter_map(|line| line.split_once(" | ").map(|(_, rest)| rest))
        .filter(|rest| rest.starts_with("jq "))
}

/// A broken run with every kind of message that a printed pipeline selects.
fn stream() -> Vec<u8> {
    let paper = Paper::default();
    let mut stream = Stream::new(Box::new(Json::new(paper.clone())), Baseline::default());
    let audited = AuditedFunction {
        function: "arch_cpu_idle".to_owned(),
        module: None,
        verdict: AuditVerdict::Exposed,
        traced: 3,
        caller: None,
        observed: None,
        reason: None,
    };
    let mut said = sample::broken_run();
    let end = said.len() - 1;
    let check = Check {
        group: CheckGroup::Mechanism,
        name: "fentry".to_owned(),
        state: CheckState::Ok,
        detail: "functions with handlers".to_owned(),
        needs: vec!["CAP_BPF".to_owned()],
        remedy: None,
    };
    let ts_ns = said[end].0;
    said.insert(end, (ts_ns, None, Message::Audited(Box::new(audited))));
    said.insert(end, (ts_ns, None, Message::Check(check)));
    let handler = HandlerReport::new(HookKind::Livepatch, "lp_idle".to_owned(), Reliance::Relies);
    let change = HandlerChange { change: ChangeKind::Gone, handler, before: None };
    said.insert(end, (ts_ns, None, Message::HandlerChange(Box::new(change))));
    for (ts_ns, cpu, message) in said {
        stream.send(Nanos(ts_ns), cpu.map(CpuId), message).expect("paper is patient");
    }
    paper.text().into_bytes()
}

fn run(pipeline: &str, input: &[u8]) -> (bool, String) {
    let mut shell = Command::new("sh")
        .args(["-c", pipeline])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut stdin = shell.stdin.take().expect("it was asked for");
    // `head` may leave early.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = shell.wait_with_output().expect("it was started");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args([command, "--help"])
        .output()
        .expect("the binary runs");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

#[test]
fn every_printed_jq_pipeline_runs_as_printed() {
    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: there is no jq; `cargo xtask setup` installs it");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts: Vec<(String, String)> = PAGES
        .iter()
        .map(|page| ((*page).to_owned(), std::fs::read_to_string(root.join(page)).expect("it is checked in")))
        .collect();
    texts.extend(COMMANDS.iter().map(|command| (format!("{command} --help"), help(command))));
    let stream = stream();
    let mut seen = 0;
    for (source, text) in &texts {
        for pipeline in pipelines(text) {
            let (ok, printed) = run(pipeline, &stream);
            assert!(ok, "{source}: {pipeline}");
            // The sample lost records and balances: all of them have something to say of it.
            assert!(!printed.trim().is_empty(), "{source}: {pipeline} printed nothing");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} pipelines were found in {} texts", texts.len());
}
