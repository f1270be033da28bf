//! PID 1 of the lab's guest, and its small commands.
//!
//! As `/init` it mounts what a tracing tool needs, plays the plan that came with the initramfs, sends
//! everything that the commands print to the host, and switches the machine off. Called by another name it
//! is that command: `lab-load`, `lab-as` and `lab-merge` are there beside whatever busybox brings. Static,
//! and without any crate but libc.

mod channel;
mod load;
mod machine;
mod player;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use xtask::plan::{PLAN_PATH, Step};
use xtask::wire::Kind;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("lab-load") => return load::run(args),
        Some("lab-as") => return run_as(args),
        Some("lab-merge") => return merge(args),
        _ => {}
    }
    if std::process::id() != 1 {
        eprintln!("lab_init: this is PID 1 of the lab's guest; use `cargo xtask lab run`");
        return ExitCode::FAILURE;
    }
    let problems = machine::set_up();
    match channel::open() {
        Ok(channel) => {
            channel.send(Kind::Booted, "", machine::release().as_bytes());
            for problem in problems {
                channel.send(Kind::Failed, "set-up", problem.as_bytes());
            }
            play_plan(&channel);
            channel.send(Kind::Done, "", b"");
            channel.flush();
        }
        // The host sees that no frame ever came; this tells it why.
        Err(error) => eprintln!("lab_init: {error}"),
    }
    machine::power_off()
}

fn play_plan(channel: &channel::Channel) {
    let plan = match std::fs::read_to_string(PLAN_PATH) {
        Ok(plan) => plan,
        Err(error) => {
            channel.send(Kind::Failed, "plan", format!("{PLAN_PATH}: {error}").as_bytes());
            return;
        }
    };
    let mut player = player::Player::new(channel.clone());
    for line in plan.lines() {
        let outcome = Step::parse(line).ok_or_else(|| "not a step of the plan".to_owned());
        if let Err(why) = outcome.and_then(|step| player.play(step)) {
            channel.send(Kind::Failed, line, why.as_bytes());
        }
    }
}

/// `lab-as UID CMD...`: without root, and so without any capability.
fn run_as(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(uid), Some(program)) = (args.next().and_then(|uid| uid.parse().ok()), args.next()) else {
        eprintln!("lab-as: give a user's number and a command");
        return ExitCode::FAILURE;
    };
    let error = Command::new(&program).args(args).uid(uid).gid(uid).exec();
    eprintln!("lab-as: {program}: {error}");
    ExitCode::FAILURE
}

/// `lab-merge CMD...`: standard error into standard output, for a person who reads both in their order.
fn merge(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(program) = args.next() else {
        eprintln!("lab-merge: give a command");
        return ExitCode::FAILURE;
    };
    // SAFETY: takes integers only; both descriptors are open.
    unsafe { libc::dup2(libc::STDOUT_FILENO, libc::STDERR_FILENO) };
    let error = Command::new(&program).args(args).exec();
    eprintln!("lab-merge: {program}: {error}");
    ExitCode::FAILURE
}
