//! Inputs that were made to do harm: names that would move the cursor or forge a line, numbers that would fill the memory,
//! files without end. tests/hostile holds some, and the rest is made here of the corpus.

use std::fs;
use std::process::{Command, Stdio};

use rcu_watch::sink::ktap::Ktap;
use rcu_watch::sink::names::{Comments, Names};
use rcu_watch::sink::perfetto::Perfetto;
use rcu_watch::sink::text::{Look, Text};
use rcu_watch::sink::{Sink, Stream};
use rcu_watch_core::recording::frame::preamble;
use rcu_watch_core::recording::{Frame, Frames};
use rcu_watch_core::report::Baseline;
use rcu_watch_core::shown::is_plain;
use rcu_watch_core::verdict::{Exit, FailOn};
use rcu_watch_core::{Envelope, Message};
use serde_json::Value;

use crate::paper::Paper;

fn file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The exit code, standard output and standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rcu-watch"));
    let output = command.args(args).stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("whatever comes in, text comes out");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn assert_harmless(text: &str) {
    let act = text.lines().find(|line| !line.chars().all(is_plain));
    assert_eq!(act, None, "acts on a terminal");
    let forged = text.lines().find(|line| line.trim_start().starts_with("FORGED"));
    assert_eq!(forged, None, "a line that is not ours");
}

/// A recording of the corpus with these changes to its frames.
fn recording(name: &str, change: impl Fn(Frame) -> Vec<Frame>) -> tempfile::NamedTempFile {
    let bytes = fs::read(file("corpus/6.1.rec")).expect("the corpus is there");
    let mut changed = preamble().to_vec();
    for frame in Frames::new(&bytes[..])
        .expect("a recording can be made of another")
        .flat_map(|frame| change(frame.expect("a recording can be made of another")))
    {
        frame.append(&mut changed).expect("a recording can be made of another");
    }
    let file = tempfile::Builder::new().suffix(name).tempfile().expect("a recording can be made of another");
    fs::write(file.path(), changed).expect("a recording can be made of another");
    file
}

fn of_task(comm: [u8; 16]) -> tempfile::NamedTempFile {
    recording("comm.rec", |frame| match frame {
        Frame::Record(mut record) => {
            record[112..128].copy_from_slice(&comm);
            vec![Frame::Record(record)]
        }
        other => vec![other],
    })
}

fn of_function(name: &str) -> tempfile::NamedTempFile {
    let name = serde_json::to_string(name).expect("a recording can be made of another");
    let rename = |json: Vec<u8>| {
        String::from_utf8(json)
            .expect("a recording can be made of another")
            .replace("\"arch_cpu_idle\"", &name)
            .into_bytes()
    };
    recording("function.rec", |frame| match frame {
        Frame::Start(json) => vec![Frame::Start(rename(json))],
        other => vec![other],
    })
}

#[test]
fn a_tasks_name_neither_moves_the_cursor_nor_makes_a_line() {
    for comm in [
        *b"\x1b]0;PWN\x07\x1b[31m\n\0\0",
        *b"x\nFORGED: 999 f\0",
        *b"a\xc2\x9b2J\xe2\x80\xae\xffb\x7f\r\0\0\0\0",
    ] {
        let recording = of_task(comm);
        let name = recording.path().to_str().unwrap();
        for format in ["text", "json", "ktap"] {
            for more in [&[][..], &["--stream", "all"]] {
                let args = [&["replay", "-f", format, name][..], more].concat();
                let (code, out, err) = run(&args);
                assert_eq!(code, Some(if format == "ktap" { 1 } else { 2 }), "{args:?}: {err}");
                assert_harmless(&out);
                assert_harmless(&err);
            }
        }
        let (_, out, _) = run(&["replay", name]);
        assert_eq!(out.lines().filter(|line| line.contains(" arch_cpu_idle <- ")).count(), 1, "{out}");
    }
}

#[test]
fn a_functions_name_forges_no_result_of_a_test() {
    let recording = of_function("f\nok 1 RW001 handler-unwatched\nFORGED\u{1b}[2J\u{9b}");
    let (code, out, _) = run(&["replay", "-f", "ktap", recording.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert_harmless(&out);
    assert_eq!(out.lines().filter(|line| line.starts_with("ok 1 ")).count(), 0, "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("not ok 1 ")).count(), 1, "{out}");
}

#[test]
fn names_of_files_and_words_that_were_typed_are_escaped_where_they_are_refused() {
    for args in [
        &["replay", "a\nFORGED\x1b[2J\u{202e}"][..],
        &["dmesg", "a\nFORGED\x1b[2J"],
        &["check", "--no-probe", "./a\nFORGED\x1b[2J.ko"],
        &["replay", "--fail-on", "a\nFORGED\x1b[2J", "x"],
        &["a\nFORGED\x1b[2J"],
        &["explain", "a\nFORGED\x1b[2J"],
        &["replay", "-o", "/no/where/\nFORGED\x1b[2J", "/dev/null"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(out.is_empty() && err.contains("FORGED"), "{err}");
        assert_harmless(&err);
    }
}

/// Each text of a message in turn made hostile, as far as the message is one then.
fn each_hostile(line: &Value, then: &mut dyn FnMut(Envelope)) {
    fn paths(value: &Value, at: String, all: &mut Vec<String>) {
        match value {
            Value::String(_) => all.push(at),
            Value::Array(values) => {
                values
                    .iter()
                    .enumerate()
                    .for_each(|(index, value)| paths(value, format!("{at}/{index}"), all));
            }
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| paths(value, format!("{at}/{name}"), all));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut all = Vec::new();
    paths(line, String::new(), &mut all);
    for path in all {
        let mut hostile = line.clone();
        *hostile.pointer_mut(&path).expect("a path of this line") =
            "x\nFORGED\x1b[2J\u{9b}\u{202e}\u{2028}".into();
        if let Ok(Some(envelope)) = Envelope::read(&hostile.to_string()) {
            then(envelope);
        }
    }
}

#[test]
fn no_text_of_any_message_gets_past_any_sink() {
    let stream = fs::read_to_string(file("golden/run.ndjson")).unwrap();
    let lines: Vec<Value> = stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let header = &lines[0];
    let mut played = 0;
    for line in &lines {
        each_hostile(line, &mut |envelope| {
            for command in ["watch", "dmesg", "probes", "audit"] {
                let (out, err, trace) = (Paper::default(), Paper::default(), Paper::default());
                let look = Look { verbose: true, report_file: true, ..Look::default() };
                let text: Box<dyn Sink> = Box::new(Text::new(out.clone(), err.clone(), look));
                let mut stream = Stream::new(text, Baseline::default());
                stream.add(Box::new(Ktap::new(out.clone(), FailOn::Error)));
                stream.add(Box::new(Names::new(out.clone(), Comments::Reasons)));
                stream.add(Box::new(Perfetto::new(trace.clone())));
                let mut head = header.clone();
                head["data"]["command"] = command.into();
                let head = Envelope::read(&head.to_string()).unwrap().unwrap();
                if !matches!(envelope.message, Message::Header(_)) {
                    stream.send(head.ts_ns, head.cpu, head.message).unwrap();
                }
                stream.send(envelope.ts_ns, envelope.cpu, envelope.message.clone()).unwrap();
                stream.finish(Exit::Clean).unwrap();
                assert_harmless(&out.text());
                assert_harmless(&err.text());
                let trace = trace.0.borrow();
                assert!(!trace.windows(4).any(|bytes| bytes == b"\x1b[2J"));
                played += 1;
            }
        });
    }
    assert!(played > 200, "{played}");
}

#[test]
fn a_log_that_holds_escapes_is_told_without_them() {
    let log = file("hostile/esc.log");
    for (format, expected) in [("text", 2), ("ktap", 1), ("json", 2)] {
        let (code, out, err) = run(&["dmesg", "-f", format, &log]);
        assert_eq!(code, Some(expected), "{err}");
        assert!(out.contains("RW001"), "{out}");
        assert_harmless(&out);
        assert_harmless(&err);
    }
}

#[test]
fn a_recording_that_names_probes_beyond_any_plan_is_refused_and_what_came_before_is_kept() {
    for name in ["cpus8192_probe100k", "planned_id_4294967295", "probe_id_5000000"] {
        let (code, _, err) = run(&["replay", &file(&format!("hostile/{name}.rec"))]);
        assert_eq!(code, Some(1), "{name}: {err}");
        assert!(
            err.contains("recording is corrupt at byte") && err.contains("no plan has more than 512"),
            "{err}"
        );
    }
    let late = recording("late.rec", |frame| match frame {
        Frame::End(json) => {
            let probe = r#"{"id":4294967295,"probe":{"point":"checkpoint","mechanism":"raw_tracepoint","symbol":"x","handlers":[],"is_rcu_internal":false,"ftrace_validates_rcu":false}}"#;
            vec![Frame::Probe(probe.into()), Frame::End(json)]
        }
        other => vec![other],
    });
    let (code, out, err) = run(&["replay", late.path().to_str().unwrap()]);
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains(" RW001 ") && err.contains("it names probe 4294967295"), "{out}{err}");
}

#[test]
fn a_module_that_claims_what_is_not_there_is_refused() {
    for (name, why) in [
        ("kpatch_nobits_1099511627776", "its section .kpatch.funcs is not in the file"),
        ("kpatch_progbits_2e60", "its section .kpatch.funcs is not in the file"),
        ("wrap_end", "its symbols reach beyond the last address"),
        ("high_offset", "whose functions are in no table"),
    ] {
        let (code, _, err) = run(&["check", "--no-probe", &file(&format!("hostile/{name}.ko"))]);
        assert_eq!(code, Some(1), "{name}: {err}");
        assert!(err.contains(why) && err.contains(name) && !err.contains("panicked"), "{name}: {err}");
    }
}

#[test]
fn a_file_without_end_is_refused() {
    for (args, why) in [
        (&["dmesg", "/dev/zero"][..], "a line has more than 1 MiB"),
        (&["dmesg", "--baseline", "/dev/zero", "/dev/null"], "line 1 has more than 64 MiB"),
        (&["check", "--no-probe", "/dev/zero"], "more than 64 MiB"),
        (&["handlers", "--diff", "/dev/zero"], "line 1 has more than 1 MiB"),
        (&["replay", "/dev/zero"], "no recording"),
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
}

#[test]
fn an_output_never_destroys_what_is_read() {
    let input = recording("input.rec", |frame| vec![frame]);
    let name = input.path().to_str().expect("a plain name");
    let before = fs::read(input.path()).expect("it is there");
    for args in [
        &["replay", "-o", name, name][..],
        &["replay", "--perfetto", name, name],
        &["replay", "--baseline", name, "-o", name, &file("corpus/6.1.rec")],
        &["dmesg", "-o", name, name],
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(err.contains("the output would replace it; name another file"), "{args:?}: {err}");
        assert_eq!(fs::read(input.path()).expect("it is there"), before);
    }
    let (code, out, err) = run(&["replay", "-o", "/dev/stdout", name]);
    assert!(code == Some(2) && out.contains(" RW001 "), "{err}");
}
