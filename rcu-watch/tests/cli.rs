//! The real binary: usage errors, help, exit codes, closed pipes. Nothing here needs root.

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
    for args in [&["--no-such-flag"][..], &["nosuch"], &["-d", "x"], &["-f", "xml"], &["--rule", "RW999"]] {
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
