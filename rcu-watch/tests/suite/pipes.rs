//! Readers that went away, and disks that are full: the exit code says what was found, and never that all is well.

use std::fs;
use std::io::{self, PipeReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A pipe whose reader is gone.
fn gone() -> Stdio {
    let (reader, writer) = io::pipe().expect("there are descriptors");
    drop(reader);
    writer.into()
}

fn run(args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .output()
        .expect("the binary runs")
}

fn file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What is asked, and the exit codes: of a reader that stays, and of one that is gone.
fn asked() -> Vec<(Vec<String>, i32, i32)> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (broken, splat) = (file("corpus/6.1.rec"), file("dmesg/arm64-5.14-clang-cfi.log"));
    vec![
        (words(&format!("replay {broken}")), 2, 2),
        (words(&format!("replay -f json {broken}")), 2, 2),
        (words(&format!("replay -f json --fail-on never {broken}")), 0, 3),
        (words(&format!("replay -f ktap --fail-on never {broken}")), 0, 1),
        (words(&format!("dmesg {splat}")), 2, 2),
        (words(&format!("dmesg -f json {splat}")), 2, 2),
        (words("dmesg -f json /dev/null"), 0, 3),
        // What is printed there is all of it: the summary is heard on standard error.
        (words("dmesg /dev/null"), 0, 0),
        (words("probes"), 0, 3),
        // A page has no verdict that could be missed.
        (words("explain RW001"), 0, 0),
        (words("man"), 0, 0),
        (words("completions bash"), 0, 0),
        (words("--help"), 0, 0),
    ]
}

#[test]
fn without_a_reader_on_standard_output_a_break_stays_one_and_nothing_is_clean() {
    for (args, heard, unheard) in asked() {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        assert_eq!(run(&args, Stdio::null(), Stdio::null()).status.code(), Some(heard), "{args:?}");
        let output = run(&args, gone(), Stdio::piped());
        assert_eq!(output.status.code(), Some(unheard), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{args:?}: {said}");
    }
}

#[test]
fn without_a_reader_on_standard_error_nothing_changes() {
    for (args, heard, _) in asked() {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (loud, quiet) = (run(&args, Stdio::piped(), Stdio::null()), run(&args, Stdio::piped(), gone()));
        assert_eq!(quiet.status.code(), Some(heard), "{args:?}");
        assert_eq!(loud.stdout.len(), quiet.stdout.len(), "{args:?}");
    }
}

#[test]
fn what_is_refused_or_not_known_here_is_so_whoever_reads() {
    let commands = [&["-f", "json", "-d", "1s"][..], &["patches"], &["handlers"], &["audit"], &["nosuch"]];
    for args in commands {
        let code = |stdout, stderr| run(args, stdout, stderr).status.code().expect("it was not killed");
        let heard = code(Stdio::null(), Stdio::null());
        assert_eq!(code(Stdio::null(), gone()), heard, "{args:?}");
        let unheard = if heard == 0 { 3 } else { heard };
        assert_eq!(code(gone(), gone()), unheard, "{args:?}");
    }
}

#[test]
fn a_full_disk_on_standard_output_is_told_and_no_verdict() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("it is there");
    let output = run(&["replay", &file("corpus/6.1.rec")], full().into(), Stdio::piped());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot write to standard output") && said.contains("; free space there"),
        "{said}"
    );
    // Nobody can be told of a full standard error, and the verdict stands.
    let output = run(&["replay", &file("corpus/6.1.rec")], Stdio::null(), full().into());
    assert_eq!(output.status.code(), Some(2));
}

/// A log that never ends must not keep a command whose reader has left.
#[test]
fn a_pipe_into_the_command_is_read_no_further_than_somebody_hears() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args(["dmesg", "-f", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(gone())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut stdin = command.stdin.take().expect("it was asked for");
    // More than any buffer; whoever leaves breaks our pipe.
    let line = b"nothing of that class\n".repeat(4096);
    let left = (0..10_000).find_map(|_| stdin.write_all(&line).err());
    assert_eq!(left.map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
    assert_eq!(command.wait().expect("it was started").code(), Some(3));
}

/// A pipe that is full, and that nobody reads.
fn full() -> (PipeReader, Stdio) {
    let (reader, mut writer) = io::pipe().expect("there are descriptors");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("it is a pipe");
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("it is a pipe");
    (reader, writer.into())
}

/// Whether the process has SIGINT blocked, which it does to take it in its own time.
fn awaits_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << (Signal::SIGINT as i32 - 1) != 0)
}

#[test]
fn a_replay_whose_reader_has_stopped_waits_for_it_and_answers_a_signal_with_its_verdict() {
    let recording = file("corpus/6.1.rec");
    for (fail_on, code) in [("error", 2), ("never", 3)] {
        let (reader, stdout) = full();
        let mut replay = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
            .args(["replay", "-f", "json", "--fail-on", fail_on, &recording])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !awaits_signals(replay.id()) {
            assert!(Instant::now() < deadline && replay.try_wait().expect("it is ours").is_none());
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(300));
        assert!(replay.try_wait().expect("it is ours").is_none(), "it did not wait for its reader");
        kill(Pid::from_raw(replay.id() as i32), Signal::SIGINT).expect("it runs");
        let output = replay.wait_with_output().expect("it is ours");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{fail_on}: {said}");
        assert!(said.contains("messages were not written"), "{said}");
        drop(reader);
    }
}
