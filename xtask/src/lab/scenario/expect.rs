//! What must be true of a scenario's record, judged one statement at a time.

use serde_json::Value;
use xtask::wire::Exit;

use super::super::console::{Output, ScenarioRecord};
use super::stream::Stream;

/// A statement about what a scenario left behind; `run` is a command's label.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// The command ended with this code.
    Exit { run: &'static str, code: i32 },
    /// It ended with code 0, or with 3 for nothing but runs that the kernel's recursion guard skipped: on a
    /// preemptible kernel a program can be preempted, and the next run of it on that CPU is then skipped
    /// (kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`). That is luck, and rightly reported.
    Unbroken { run: &'static str },
    /// A signal ended the command.
    Killed { run: &'static str, signal: i32 },
    /// Its standard output is a whole stream whose books balance.
    Stream { run: &'static str },
    /// At least one such finding.
    Finding { run: &'static str, finding: Finding },
    /// No finding at all.
    NoFinding { run: &'static str },
    /// No finding of this severity.
    NoneOf { run: &'static str, severity: &'static str },
    /// No finding on another function than these.
    OnlyOn { run: &'static str, functions: &'static [&'static str] },
    /// A message of this kind about a function, with this value of a member.
    Said {
        run: &'static str,
        kind: &'static str,
        function: &'static str,
        member: &'static str,
        value: &'static str,
    },
    /// Exactly one finding, and a synthetic one.
    OnlySynthetic { run: &'static str },
    /// The point was hit at least so often, all CPUs together.
    Hits { run: &'static str, point: &'static str, at_least: u64 },
    /// So many probes sit on these functions, and on each CPU all were hit as often, give or take what is open at
    /// either end; all CPUs together at least so often.
    Balance { run: &'static str, functions: &'static [&'static str], probes: usize, at_least: u64 },
    /// The summary says that this rule was judged.
    Judged { run: &'static str, rule: &'static str },
    /// The layout was calibrated.
    Calibrated { run: &'static str },
    /// The livepatch was loaded and unloaded so often, with both of its transitions each time.
    Livepatches { run: &'static str, patch: &'static str, times: usize },
    /// Watchpoints saw at least so many writes to S, and of each kind as many ways in as out.
    Transitions { run: &'static str, at_least: u64 },
    /// So many records came through, and those that did not are said to be lost.
    Delivered { run: &'static str, at_least: u64 },
    /// It never had more memory resident.
    Memory { run: &'static str, at_most_mib: u64 },
    /// Records were lost, and both the stream and the summary say so.
    Loss { run: &'static str },
    /// It is the replay of what the other recorded: the same records, findings, books and verdict.
    Replays { run: &'static str, live: &'static str },
    /// One line of its standard output or error has all of these.
    Line { run: &'static str, has: &'static [&'static str] },
    /// Both commands printed the same.
    SameOutput { run: &'static str, other: &'static str },
    /// At its start it saw another instance.
    OtherInstance { run: &'static str },
    /// A finding of this rule and severity, whatever it is about.
    Fired { run: &'static str, rule: &'static str, severity: &'static str },
    /// The file holds none of these.
    Without { file: &'static str, none_of: &'static [&'static str] },
    /// The file holds this.
    With { file: &'static str, text: &'static str },
    /// Both files are the same.
    Same { file: &'static str, other: &'static str },
    /// On this kernel only.
    On { kernel: &'static str, expect: &'static Expect },
}

/// A finding as a scenario knows it beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    pub rule: &'static str,
    pub severity: &'static str,
    pub function: &'static str,
    /// Kind and name of a handler that it names; `None`: it names none.
    pub handler: Option<(&'static str, &'static str)>,
    /// W=0 N=0 M=0.
    pub at_eqs: bool,
    /// `None`: whichever.
    pub mechanism: Option<&'static str>,
}

type Verdict = Result<(), String>;

impl Expect {
    /// What is wrong, if something is.
    pub fn judge(&self, record: &ScenarioRecord, kernel: &str) -> Verdict {
        let outcome = match *self {
            Self::Exit { run, code } => exit(record, run, Exit::Code(code)),
            Self::Unbroken { run } => unbroken(record, run),
            Self::Killed { run, signal } => exit(record, run, Exit::Signal(signal)),
            Self::Stream { run } => stream(record, run).and_then(|stream| stream.balance()),
            Self::Finding { run, finding } => stream(record, run).and_then(|stream| finding.is_in(&stream)),
            Self::NoFinding { run } => no_finding(record, run, |_| true),
            Self::NoneOf { run, severity } => no_finding(record, run, |found| found["severity"] == severity),
            Self::OnlyOn { run, functions } => no_finding(record, run, |found| {
                !functions.iter().any(|function| found["function"] == *function)
            }),
            Self::Said { run, kind, function, member, value } => said(record, run, kind, function)
                .and_then(|seen| ok_or(seen[member] == value, || format!("{member} is not {value}: {seen}"))),
            Self::OnlySynthetic { run } => only_synthetic(record, run),
            Self::Hits { run, point, at_least } => hits(record, run, point, at_least),
            Self::Balance { run, functions, probes, at_least } => {
                balance(record, run, functions, probes, at_least)
            }
            Self::Judged { run, rule } => judged(record, run, rule),
            Self::Calibrated { run } => calibrated(record, run),
            Self::Livepatches { run, patch, times } => livepatches(record, run, patch, times),
            Self::Transitions { run, at_least } => transitions(record, run, at_least),
            Self::Delivered { run, at_least } => delivered(record, run, at_least),
            Self::Memory { run, at_most_mib } => memory(record, run, at_most_mib),
            Self::Loss { run } => loss(record, run),
            Self::SameOutput { run, other } => same_output(record, run, other),
            Self::OtherInstance { run } => other_instance(record, run),
            Self::Fired { run, rule, severity } => fired(record, run, rule, severity),
            Self::Replays { run, live } => {
                stream(record, live).and_then(|live| replays(&stream(record, run)?, &live))
            }
            Self::Line { run, has } => line(record, run, has),
            Self::Without { file, none_of } => without(record, file, none_of),
            Self::With { file, text } => content(record, file)
                .and_then(|content| ok_or(content.contains(text), || format!("no {text:?} in {content:?}"))),
            Self::Same { file, other } => same(record, file, other),
            Self::On { kernel: only, expect } => {
                return if only == kernel { expect.judge(record, kernel) } else { Ok(()) };
            }
        };
        let subject = match *self {
            Self::Without { file, .. } | Self::With { file, .. } | Self::Same { file, .. } => file,
            Self::Exit { run, .. }
            | Self::Unbroken { run }
            | Self::Killed { run, .. }
            | Self::Stream { run }
            | Self::Finding { run, .. }
            | Self::NoFinding { run }
            | Self::NoneOf { run, .. }
            | Self::OnlyOn { run, .. }
            | Self::Said { run, .. }
            | Self::OnlySynthetic { run }
            | Self::Delivered { run, .. }
            | Self::Memory { run, .. }
            | Self::Hits { run, .. }
            | Self::Balance { run, .. }
            | Self::Judged { run, .. }
            | Self::Calibrated { run }
            | Self::Livepatches { run, .. }
            | Self::Transitions { run, .. }
            | Self::SameOutput { run, .. }
            | Self::OtherInstance { run }
            | Self::Fired { run, .. }
            | Self::Loss { run }
            | Self::Replays { run, .. }
            | Self::Line { run, .. } => run,
            Self::On { .. } => "",
        };
        outcome.map_err(|why| format!("{subject}: {why}"))
    }
}

impl Finding {
    fn is_in(&self, stream: &Stream) -> Verdict {
        if stream.of("finding").any(|found| self.matches(found)) {
            return Ok(());
        }
        let seen: Vec<String> = stream.of("finding").map(shown).collect();
        Err(format!("no finding {self:?}; there were {}: {}", seen.len(), seen.join("; ")))
    }

    fn matches(&self, found: &Value) -> bool {
        let Self { rule, severity, function, handler, at_eqs, mechanism } = *self;
        let handlers = found["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let handler = match handler {
            Some((kind, name)) => {
                handlers.iter().any(|seen| seen["kind"] == kind && is_called(&seen["name"], name))
            }
            None => handlers.is_empty(),
        };
        let state = &found["state"];
        let zero = ["0x0", "0x0000000000000000"];
        let is_zero = |word: &Value| word.as_str().is_some_and(|word| zero.contains(&word));
        let eqs = state["watching"] == false && is_zero(&state["N"]) && is_zero(&state["M"]["raw"]);
        found["rule"] == rule
            && found["severity"] == severity
            && found["function"] == function
            && handler
            && (!at_eqs || eqs)
            && mechanism.is_none_or(|mechanism| found["mechanism"] == mechanism)
    }
}

/// A `*` at the end stands for whatever follows: where a kernel has endbr64, a kprobe at a function's start is not at
/// its first byte.
fn is_called(seen: &Value, name: &str) -> bool {
    name.strip_suffix('*')
        .map_or(seen == name, |start| seen.as_str().is_some_and(|seen| seen.starts_with(start)))
}

fn ok_or(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

fn command<'a>(record: &'a ScenarioRecord, run: &str) -> Result<&'a Output, String> {
    record.commands.get(run).ok_or_else(|| "it did not run".to_owned())
}

fn stream(record: &ScenarioRecord, run: &str) -> Result<Stream, String> {
    Stream::read(&command(record, run)?.stdout)
}

fn exit(record: &ScenarioRecord, run: &str, wanted: Exit) -> Verdict {
    let seen = command(record, run)?.exit;
    ok_or(seen == Some(wanted), || match seen {
        Some(seen) => format!("it ended with {}, and not with {}", seen.encode(), wanted.encode()),
        None => "it did not end".to_owned(),
    })
}

fn unbroken(record: &ScenarioRecord, run: &str) -> Verdict {
    let unlucky = stream(record, run).is_ok_and(|stream| {
        let reasons = stream.summary()["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
        let skipped =
            |reason: &Value| reason.as_str().is_some_and(|reason| reason.contains("recursion guard"));
        !reasons.is_empty() && reasons.iter().all(skipped)
    });
    exit(record, run, Exit::Code(if unlucky { 3 } else { 0 }))
}

fn no_finding(record: &ScenarioRecord, run: &str, counts: impl Fn(&Value) -> bool) -> Verdict {
    let stream = stream(record, run)?;
    let found: Vec<String> = stream.of("finding").filter(|found| counts(found)).map(shown).collect();
    ok_or(found.is_empty(), || format!("a false alarm: {}", found.join("; ")))
}

fn said(record: &ScenarioRecord, run: &str, kind: &str, function: &str) -> Result<Value, String> {
    let stream = stream(record, run)?;
    let about = stream.of(kind).find(|said| said["function"] == function).cloned();
    about.ok_or_else(|| format!("no {kind} about {function}"))
}

fn only_synthetic(record: &ScenarioRecord, run: &str) -> Verdict {
    let stream = stream(record, run)?;
    let findings: Vec<&Value> = stream.of("finding").collect();
    let only = matches!(findings.as_slice(), [only] if only["synthetic"] == true);
    ok_or(only, || format!("not one synthetic finding: {findings:?}"))
}

fn hits(record: &ScenarioRecord, run: &str, point: &str, at_least: u64) -> Verdict {
    let hits = stream(record, run)?.hits(point);
    ok_or(hits >= at_least, || format!("{hits} hits of {point}, fewer than {at_least}"))
}

fn balance(record: &ScenarioRecord, run: &str, functions: &[&str], probes: usize, at_least: u64) -> Verdict {
    /// A transition that is open where counting starts, and one where it ends.
    const OPEN: u64 = 2;
    let hits = stream(record, run)?.hits_on(functions);
    let balanced = |hits: &Vec<u64>| {
        let (least, most) = (hits.iter().min().unwrap_or(&0), hits.iter().max().unwrap_or(&0));
        hits.len() == probes && most - least <= OPEN
    };
    let total: u64 = hits.values().filter_map(|hits| hits.iter().min()).sum();
    ok_or(total >= at_least && hits.values().all(balanced), || {
        format!("{probes} probes on {functions:?} are not in balance over {at_least} transitions: {hits:?}")
    })
}

fn judged(record: &ScenarioRecord, run: &str, rule: &str) -> Verdict {
    let stream = stream(record, run)?;
    let rules = stream.summary()["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let status = rules.iter().find(|status| status["rule"] == rule);
    ok_or(status.is_some_and(|status| status["status"] == "judged"), || format!("{rule} is {status:?}"))
}

fn calibrated(record: &ScenarioRecord, run: &str) -> Verdict {
    let stream = stream(record, run)?;
    let layout = &stream.header()["layout"];
    ok_or(layout["calibrated"] == true, || format!("not calibrated: {layout}"))
}

/// In this order, again and again.
const LIFE: [(&str, bool); 6] = [
    ("load", true),
    ("transition_start", true),
    ("transition_end", true),
    ("transition_start", false),
    ("transition_end", false),
    ("unload", false),
];

fn livepatches(record: &ScenarioRecord, run: &str, patch: &str, times: usize) -> Verdict {
    let stream = stream(record, run)?;
    let seen: Vec<(&str, bool)> = stream
        .of("livepatch")
        .filter(|said| said["patch"] == patch)
        .map(|said| (said["event"].as_str().unwrap_or_default(), said["to_patched"] == true))
        .collect();
    let whole = seen.len() == times * LIFE.len() && seen.chunks(LIFE.len()).all(|life| life == LIFE);
    ok_or(whole, || format!("not {times} lives of {patch}: {seen:?}"))
}

fn loss(record: &ScenarioRecord, run: &str) -> Verdict {
    let stream = stream(record, run)?;
    let said: u64 = stream.of("lost").filter_map(|lost| lost["count"].as_u64()).sum();
    let total = stream.summary()["totals"]["lost"].as_u64();
    ok_or(said > 0 && total == Some(said), || format!("`lost` messages say {said}, the summary {total:?}"))
}

fn transitions(record: &ScenarioRecord, run: &str, at_least: u64) -> Verdict {
    let stream = stream(record, run)?;
    let seen = &stream.summary()["transitions"];
    let kinds = seen["balance"].as_array().map(Vec::as_slice).unwrap_or_default();
    let enough = seen["writes"].as_u64().is_some_and(|writes| writes >= at_least);
    let all_balance = !kinds.is_empty() && kinds.iter().all(|kind| kind["balanced"] == true);
    let known = seen["unknown"] == 0;
    ok_or(enough && all_balance && known, || format!("the summary says {seen}"))
}

fn replays(replay: &Stream, live: &Stream) -> Verdict {
    for kind in ["snapshot", "finding", "livepatch", "plan_change"] {
        let (again, before): (Vec<_>, Vec<_>) = (replay.of(kind).collect(), live.of(kind).collect());
        let differs = again.iter().zip(&before).position(|(again, before)| again != before);
        if again.len() != before.len() || differs.is_some() {
            let (counts, at) = ((again.len(), before.len()), differs.unwrap_or_default());
            return Err(format!("{counts:?} times `{kind}`; {:?} for {:?}", again.get(at), before.get(at)));
        }
    }
    let (again, before) = (replay.summary(), live.summary());
    for member in ["verdict", "exit_code", "totals", "findings", "rules", "guards", "books", "followed"] {
        ok_or(again[member] == before[member], || {
            format!("{member} is {}, and was {}", again[member], before[member])
        })?;
    }
    Ok(())
}

fn delivered(record: &ScenarioRecord, run: &str, at_least: u64) -> Verdict {
    let stream = stream(record, run)?;
    let totals = &stream.summary()["totals"];
    let [emitted, delivered, lost] = ["emitted", "delivered", "lost"].map(|name| totals[name].as_u64());
    let sum = delivered.and_then(|delivered| Some(delivered + lost?));
    ok_or(emitted == sum && delivered >= Some(at_least), || {
        format!("{emitted:?} emitted, {delivered:?} delivered, {lost:?} lost")
    })
}

fn memory(record: &ScenarioRecord, run: &str, at_most_mib: u64) -> Verdict {
    let bytes = stream(record, run)?.summary()["cost"]["max_resident_bytes"].as_u64();
    ok_or(bytes.is_some_and(|bytes| bytes <= at_most_mib << 20), || format!("{bytes:?} bytes resident"))
}

fn line(record: &ScenarioRecord, run: &str, has: &[&str]) -> Verdict {
    let Output { stdout, stderr, .. } = command(record, run)?;
    let text = [stdout.as_slice(), b"\n", stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).to_lowercase();
    let holds = |line: &str| has.iter().all(|word| line.contains(&word.to_lowercase()));
    ok_or(text.lines().any(holds), || format!("no line has all of {has:?}"))
}

fn content(record: &ScenarioRecord, file: &str) -> Result<String, String> {
    let bytes = record.files.get(file).ok_or("it was not read")?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn without(record: &ScenarioRecord, file: &str, none_of: &[&str]) -> Verdict {
    let content = content(record, file)?;
    let found: Vec<&str> =
        content.lines().filter(|line| none_of.iter().any(|text| line.contains(text))).collect();
    ok_or(found.is_empty(), || format!("it holds {found:?}"))
}

fn same(record: &ScenarioRecord, file: &str, other: &str) -> Verdict {
    let (content, expected) = (content(record, file)?, content(record, other)?);
    ok_or(content == expected, || format!("it is {content:?}, and {other} is {expected:?}"))
}

fn same_output(record: &ScenarioRecord, run: &str, other: &str) -> Verdict {
    let text = |run| command(record, run).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let (printed, expected) = (text(run)?, text(other)?);
    ok_or(!printed.is_empty() && printed == expected, || {
        format!("it printed {printed:?}, {other} {expected:?}")
    })
}

fn other_instance(record: &ScenarioRecord, run: &str) -> Verdict {
    let stream = stream(record, run)?;
    let others = stream.header()["other_instances"].as_array().map_or(0, Vec::len);
    ok_or(others > 0, || "it saw no other instance".to_owned())
}

fn fired(record: &ScenarioRecord, run: &str, rule: &str, severity: &str) -> Verdict {
    let stream = stream(record, run)?;
    let fits = |found: &Value| found["rule"] == rule && found["severity"] == severity;
    let seen: Vec<String> = stream.of("finding").map(shown).collect();
    ok_or(stream.of("finding").any(fits), || format!("no {severity} {rule}; there were {}", seen.join("; ")))
}

fn shown(found: &Value) -> String {
    let handlers = found["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = handlers.iter().filter_map(|handler| handler["name"].as_str()).collect();
    let state = &found["state"];
    format!(
        "{} {} {} by {} <- {names:?} S={} N={} M={}",
        found["rule"],
        found["severity"],
        found["function"],
        found["mechanism"],
        state["S"],
        state["N"],
        state["M"]["raw"]
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WANTED: Finding = Finding {
        rule: "RW001",
        severity: "error",
        function: "arch_cpu_idle",
        handler: Some(("livepatch", "lab")),
        at_eqs: true,
        mechanism: Some("fentry"),
    };

    fn found() -> Value {
        json!({
            "rule": "RW001", "severity": "error", "function": "arch_cpu_idle", "mechanism": "fentry",
            "handlers": [{ "kind": "livepatch", "name": "lab" }],
            "state": { "watching": false, "N": "0x0", "M": { "raw": "0x0" } },
        })
    }

    #[test]
    fn a_finding_counts_only_with_everything_that_is_wanted() {
        assert!(WANTED.matches(&found()));
        for (pointer, other) in [
            ("/rule", json!("RW015")),
            ("/severity", json!("warning")),
            ("/function", json!("default_idle")),
            ("/mechanism", json!("kprobe_ftrace")),
            ("/handlers", json!([])),
            ("/handlers/0/name", json!("other")),
            ("/state/watching", json!(true)),
            ("/state/M/raw", json!("0x1")),
        ] {
            let mut changed = found();
            *changed.pointer_mut(pointer).unwrap() = other;
            assert!(!WANTED.matches(&changed), "{pointer}");
        }
    }

    #[test]
    fn only_the_recursion_guard_excuses_an_inconclusive_run() {
        let ended = |code: i32, reasons: &str| {
            let stdout = format!(
                "{{\"type\":\"header\",\"seq\":0,\"data\":{{}}}}\n\
                 {{\"type\":\"summary\",\"seq\":1,\"data\":{{\"reasons\":[{reasons}]}}}}\n"
            );
            let output =
                Output { stdout: stdout.into_bytes(), stderr: Vec::new(), exit: Some(Exit::Code(code)) };
            let mut record = ScenarioRecord::default();
            record.commands.insert("watch".into(), output);
            Expect::Unbroken { run: "watch" }.judge(&record, "sid").is_ok()
        };
        let (skipped, lost) =
            ("\"1 run was skipped by the kernel's recursion guard\"", "\"2 records were lost\"");
        assert!(ended(0, ""));
        assert!(ended(3, skipped));
        assert!(!ended(3, ""));
        assert!(!ended(3, lost));
        assert!(!ended(3, &format!("{skipped},{lost}")));
        assert!(!ended(2, skipped));
    }

    #[test]
    fn what_did_not_run_meets_nothing() {
        let record = ScenarioRecord::default();
        let all = [
            Expect::Exit { run: "watch", code: 0 },
            Expect::NoFinding { run: "watch" },
            Expect::Without { file: "sites", none_of: &["x"] },
            Expect::Same { file: "sites", other: "sites" },
        ];
        assert!(all.iter().all(|expect| expect.judge(&record, "6.1").is_err()));
    }
}
