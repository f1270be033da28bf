//! PID 1 of the lab's guest, and its small commands.
//!
//! As `/init` it mounts what a tracing tool needs, plays the plan that came with the initramfs, sends
//! everything that the commands print to the host, and switches the machine off. Called by another name it
//! is that command: `lab-load` and its like are there beside whatever busybox brings. Static, and without any
//! crate but libc.

mod bench;
mod channel;
mod command;
mod load;
mod machine;
mod player;

use std::path::Path;
use std::process::ExitCode;

use xtask::plan::{PLAN_PATH, Step};
use xtask::wire::Kind;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("lab-load") => return load::run(args),
        Some("lab-as") => return command::run_as(args),
        Some("lab-empty") => return bench::empty(args),
        Some("lab-flood") => return bench::flood(args),
        Some("lab-observe") => return bench::observe(args),
        Some("lab-work") => return bench::work(args),
        Some("lab-head") => return command::head(args),
        Some("lab-stopped") => return command::stopped(args),
        Some("lab-merge") => return command::merge(args),
        Some("lab-spin") => return load::spin(args),
        Some("lab-switch") => return load::switch(args),
        Some("lab-held") => return command::held(),
        Some("lab-write") => return command::write(args),
        Some("lab-cycle") => return command::cycle(args),
        Some("lab-insmod") => return command::insmod(args),
        Some("lab-dir") => return command::directory(args),
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
