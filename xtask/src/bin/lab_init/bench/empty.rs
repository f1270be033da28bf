//! `lab-empty tracepoint|function|kprobe NAME [CMD...]`: runs CMD while an empty program is attached there: the least
//! that any observer of that kind can cost. Without CMD it says so and stays: somebody else's handler.

use std::io;
use std::process::{Command, ExitCode};
use std::thread;

use super::bpf;

pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(kind), Some(name)) = (args.next(), args.next()) else {
        eprintln!("lab-empty: give tracepoint, function or kprobe, and its name");
        return ExitCode::FAILURE;
    };
    let attached = attach(&kind, &name);
    let _link = match attached {
        Ok(link) => link,
        Err(error) => {
            eprintln!("lab-empty: {kind} {name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(command) = args.next() else {
        println!("lab-empty: attached to {name}");
        loop {
            thread::park();
        }
    };
    match Command::new(&command).args(args).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab-empty: {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attach(kind: &str, name: &str) -> io::Result<std::os::fd::OwnedFd> {
    bpf::lift_memory_limit();
    if kind == "tracepoint" {
        return bpf::attach(&bpf::load_empty(bpf::RAW_TRACEPOINT, None)?, Some(name));
    }
    if kind == "kprobe" {
        return bpf::attach_kprobe(&bpf::load_empty(bpf::KPROBE, None)?, name);
    }
    let target = bpf::function_id(name).ok_or_else(|| io::Error::other("not in the kernel's BTF"))?;
    bpf::attach(&bpf::load_empty(bpf::TRACING, Some(target))?, None)
}
