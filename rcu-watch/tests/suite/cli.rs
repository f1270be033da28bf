//! The real binary: usage errors, help, exit codes, closed pipes. Nothing here needs root.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

fn rcu_watch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_usage_error_is_exit_1_because_2_means_findings() {
    for args in [
        &["--no-such-flag"][..],
        &["nosuch"],
        &["-d", "x"],
        &["-f", "xml"],
        &["-f", "names"],
        &["--rule", "RW999"],
    ] {
        let output = rcu_watch(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_mistyped_rule_is_answered_with_the_one_that_was_meant() {
    let output = rcu_watch(&["--rule", "handler-unwached"]);
    assert!(stderr(&output).contains("did you mean handler-unwatched?"), "{}", stderr(&output));
}

#[test]
fn a_mistyped_command_is_answered_with_the_one_that_was_meant() {
    let output = rcu_watch(&["docter"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("'doctor'"), "{}", stderr(&output));
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["-h"][..], &["--help"], &["-V"], &["watch", "-h"], &["probes", "--help"]] {
        let output = rcu_watch(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_help_shows_examples_and_the_exit_codes() {
    let help = String::from_utf8(rcu_watch(&["--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit codes: 0 no finding"), "{help}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = rcu_watch(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("fail-on"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rcu-watch"));
    command.arg("man").stdout(writer).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

fn report(name: &str) -> String {
    format!("{}/tests/dmesg/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_log_with_a_break_exits_2_and_one_without_exits_0() {
    let broken = rcu_watch(&["dmesg", &report("arm64-5.14-clang-cfi.log")]);
    assert_eq!(broken.status.code(), Some(2), "{}", stderr(&broken));
    let line = String::from_utf8(broken.stdout).unwrap();
    assert!(line.contains("error RW006 nesting-imbalance rcu_eqs_enter"), "{line}");
    for quiet in ["/dev/null".to_owned(), report("report-x86-6.17-smbus-field-spanning.log")] {
        let quiet = rcu_watch(&["dmesg", &quiet]);
        assert_eq!(quiet.status.code(), Some(0));
        assert!(quiet.stdout.is_empty());
    }
}

/// A run with this as its standard input.
fn with_input(args: &[&str], input: &str) -> Output {
    let input = std::fs::File::open(input).expect("the report is there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rcu-watch"));
    command.args(args).stdin(input).output().expect("the binary runs")
}

#[test]
fn a_log_is_read_from_standard_input_where_one_is_there_and_beside_files() {
    let (broken, other) = (report("arm64-5.14-clang-cfi.log"), report("report-arm64-3.10-old-warn.log"));
    for args in [&["dmesg"][..], &["dmesg", "-"], &["dmesg", &other, "-"]] {
        let output = with_input(args, &broken);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(line.contains("rcu_eqs_enter"), "{line}");
        assert_eq!(line.contains("rcu_irq_enter"), args.len() == 3, "{line}");
    }
    let both = rcu_watch(&["dmesg", "--follow", &broken, &other]);
    assert_eq!(both.status.code(), Some(1));
    assert!(stderr(&both).contains("; name one file"), "{}", stderr(&both));
}

#[test]
fn a_log_that_could_not_be_read_is_not_clean_and_its_form_is_told_with_v() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let odd = format!("{folder}/odd.log");
    std::fs::write(&odd, "<4>[    7.1] they said: RCU used illegally from idle CPU!\n").unwrap();
    let output = rcu_watch(&["dmesg", "-v", &odd]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.contains("1 line speaks of RCU and could not be parsed"), "{said}");
    assert!(said.contains("1 line read as levels, printk's time") && !said.contains("no splat"), "{said}");
}

#[test]
fn the_parts_of_a_crash_are_read_in_the_order_in_which_they_were_printed() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let whole = std::fs::read_to_string(report("form-pstore.log")).unwrap();
    let lines: Vec<&str> = whole.lines().filter(|line| line.starts_with("<4>")).collect();
    let (first, last) = lines.split_at(17);
    let parts = format!("{folder}/parts.log");
    std::fs::write(
        &parts,
        format!("Oops#1 Part1\n{}\nOops#1 Part2\n{}\n", last.join("\n"), first.join("\n")),
    )
    .unwrap();
    let output = rcu_watch(&["dmesg", &parts]);
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.contains("RW001 handler-unwatched intel_idle_ibrs"), "{line}");
}

#[test]
fn a_log_that_grows_is_followed_until_a_signal() {
    let log = format!("{}/grows.log", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&log, "[    1.0] quiet\n").unwrap();
    let mut follower = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args(["dmesg", "--follow", &log])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut grown = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    grown.write_all(b"[    2.0] RCU not on for: arch_cpu").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    grown.write_all(b"_idle+0x0/0x20\n").unwrap();
    let mut first = String::new();
    BufReader::new(follower.stdout.as_mut().expect("it was asked for")).read_line(&mut first).unwrap();
    assert!(first.contains("RW013 handler-dropped arch_cpu_idle"), "{first}");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(follower.id()).unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn a_warning_in_a_log_counts_from_fail_on_warning() {
    let log = report("s390-6.2-next-arch_cpu_idle.log");
    assert_eq!(rcu_watch(&["dmesg", &log]).status.code(), Some(0));
    assert_eq!(rcu_watch(&["dmesg", "--fail-on", "warning", &log]).status.code(), Some(2));
    assert_eq!(rcu_watch(&["dmesg", "--fail-on", "warning", "-f", "ktap", &log]).status.code(), Some(1));
}

#[test]
fn what_is_in_the_baseline_does_not_fail_again() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let (old, log) = (format!("{folder}/old.ndjson"), report("arm64-6.2-rc1-psci_checker.log"));
    assert_eq!(rcu_watch(&["dmesg", "-f", "json", "-o", &old, &log]).status.code(), Some(2));
    assert_eq!(rcu_watch(&["dmesg", "--baseline", &old, &log]).status.code(), Some(0));
    let other = report("arm64-5.14-clang-cfi.log");
    assert_eq!(rcu_watch(&["dmesg", "--baseline", &old, &other]).status.code(), Some(2));
    let wrong = rcu_watch(&["dmesg", "--baseline", &log, &log]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("give the output of `rcu-watch -f json`"), "{}", stderr(&wrong));
}

#[test]
fn a_log_as_ndjson_is_what_the_schema_says() {
    let schema = format!("{}/../docs/schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let output = rcu_watch(&["dmesg", "-f", "json", &report("x86-5.19-next-ct_idle_exit.log")]);
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|&c| c == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    for line in &lines {
        assert!(validator.is_valid(line), "{line}");
    }
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["header", "finding", "finding", "summary"]);
}

#[test]
fn the_census_ends_in_a_summary_and_says_what_it_could_not_read() {
    let schema = format!("{}/../docs/schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let output = rcu_watch(&["handlers", "-f", "json"]);
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert!(validator.is_valid(line), "{line}");
    }
    let (header, summary) = (&lines[0]["data"], &lines[lines.len() - 1]["data"]);
    assert_eq!((&header["command"], &summary["ended_by"]), (&"handlers".into(), &"listed".into()));
    let code = output.status.code().unwrap();
    assert_eq!(summary["exit_code"], code);
    // What this machine shows depends on it and on who runs the test; that nothing is passed over does not.
    let is_told =
        summary["reasons"].as_array().unwrap().len() <= header["blind_spots"].as_array().unwrap().len();
    assert!(is_told && [0, 3, 4].contains(&code), "{header} {summary}");
    assert_eq!(rcu_watch(&["handlers", "-f", "ktap"]).status.code(), Some(1));
}

/// Writes what this machine lists, and with it a livepatch that it does not have.
fn old_list(name: &str) -> String {
    let path = format!("{}/{name}.ndjson", env!("CARGO_TARGET_TMPDIR"));
    let text = String::from_utf8(rcu_watch(&["handlers", "-f", "json"]).stdout).expect("the stream is text");
    let mut lines: Vec<_> = text.lines().collect();
    lines.insert(
        1,
        r#"{"seq":1,"ts_ns":"1","type":"handler","data":{"kind":"livepatch","name":"lp_gone","function":"arch_cpu_idle","place":"entry","reliance":"relies","state":"alive","ours":false}}"#,
    );
    std::fs::write(&path, lines.join("\n") + "\n").expect("the target directory can be written");
    path
}

#[test]
fn what_is_gone_since_an_earlier_census_is_told_and_exits_2_where_that_was_asked_for() {
    let schema = format!("{}/../docs/schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let old = old_list("census-gone");
    let output = rcu_watch(&["handlers", "-f", "json", "--diff", &old, "--exit-on-change"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| validator.is_valid(line)), "{text}");
    let change = lines.iter().find(|line| line["type"] == "handler_change").unwrap();
    assert_eq!(
        (&change["data"]["change"], &change["data"]["handler"]["name"]),
        (&"gone".into(), &"lp_gone".into())
    );
    let summary = &lines[lines.len() - 1]["data"];
    // 4 where the tests may read none of this machine's lists.
    let code = output.status.code();
    assert!([Some(2), Some(4)].contains(&code) && summary["exit_code"] == code.unwrap(), "{summary}");
    let text = rcu_watch(&["handlers", "--diff", &old]);
    assert!(![Some(1), Some(2)].contains(&text.status.code()), "{}", stderr(&text));
    let screen = String::from_utf8(text.stdout).unwrap();
    assert!(screen.lines().any(|line| line.starts_with("gone") && line.contains("lp_gone")), "{screen}");
    let elsewhere = rcu_watch(&["handlers", "--diff", &old, "--function", "nosuch_*"]);
    assert!(!String::from_utf8(elsewhere.stdout).unwrap().contains("lp_gone"));
}

#[test]
fn a_file_that_is_no_earlier_census_is_an_error_with_a_remedy_and_is_left_alone() {
    let old = old_list("census-kept");
    let before = std::fs::read(&old).unwrap();
    let log = report("arm64-5.14-clang-cfi.log");
    let cases = [
        (vec!["--diff", &old, "-o", &old], "name another file"),
        (vec!["--diff", "/dev/zero"], "line 1 has more than 1 MiB"),
        (vec!["--diff", "/dev/null"], "does not begin with a header"),
        (vec!["--diff", &log], "give what `rcu-watch handlers -f json` wrote"),
        (vec!["--diff", "/nosuch"], "; give what `rcu-watch handlers -f json` wrote"),
        (vec!["--exit-on-change"], "--diff"),
    ];
    for (mut args, expected) in cases {
        args.insert(0, "handlers");
        let output = rcu_watch(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read(&old).unwrap(), before);
}

#[test]
fn a_full_disk_is_an_error_with_a_remedy() {
    let output = rcu_watch(&["dmesg", "-o", "/dev/full", &report("arm64-5.14-clang-cfi.log")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write to /dev/full"), "{}", stderr(&output));
    assert!(stderr(&output).contains("; free space there"), "{}", stderr(&output));
}

#[test]
fn a_file_at_its_limit_is_an_error_and_not_a_signal() {
    let out = format!("{}/limited.ndjson", env!("CARGO_TARGET_TMPDIR"));
    let recording = format!("{}/tests/corpus/6.1.rec", env!("CARGO_MANIFEST_DIR"));
    let script = r#"ulimit -f 8 && exec "$0" replay -f json -o "$1" "$2""#;
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_rcu-watch"), &out, &recording])
        .output()
        .expect("there is a shell");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("cannot write to {out}: ")), "{}", stderr(&output));
    assert!(stderr(&output).contains("ulimit -f"), "{}", stderr(&output));
}

#[test]
fn a_directory_is_named_once_in_the_error() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    for args in [
        &["dmesg", folder][..],
        &["replay", folder],
        &["check", folder],
        &["dmesg", "-o", folder, "/dev/null"],
        &["dmesg", "--baseline", folder, "/dev/null"],
    ] {
        let output = rcu_watch(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.matches(folder).count() == 1 && said.contains("s a directory"), "{args:?}: {said}");
    }
}

#[test]
fn patches_answer_on_every_kernel_and_say_what_a_kernel_without_them_lacks() {
    let output = rcu_watch(&["patches", "-f", "json"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!((types.first(), types.last()), (Some(&"header"), Some(&"summary")), "{text}");
    if std::path::Path::new("/sys/kernel/livepatch").exists() {
        assert!(matches!(output.status.code(), Some(0 | 2 | 3)), "{}", stderr(&output));
        assert!(types[1..types.len() - 1].iter().all(|kind| *kind == "patch"), "{text}");
    } else {
        assert_eq!(output.status.code(), Some(4));
        assert!(text.contains("CONFIG_LIVEPATCH"), "{text}");
    }
}

#[test]
fn patches_judge_no_rule_and_have_no_ktap() {
    let output = rcu_watch(&["patches", "-f", "ktap"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("take -f text or -f json"), "{}", stderr(&output));
}
