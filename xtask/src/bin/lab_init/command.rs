//! Small commands that run another command in some special place.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

/// `lab-as UID CMD...`: without root, and so without any capability.
pub fn run_as(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(uid), Some(program)) = (args.next().and_then(|uid| uid.parse().ok()), args.next()) else {
        eprintln!("lab-as: give a user's number and a command");
        return ExitCode::FAILURE;
    };
    let error = Command::new(&program).args(args).uid(uid).gid(uid).exec();
    eprintln!("lab-as: {program}: {error}");
    ExitCode::FAILURE
}

/// `lab-head CMD...`: reads one line of its output, closes the pipe, and ends with its code.
pub fn head(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(program) = args.next() else {
        eprintln!("lab-head: give a command");
        return ExitCode::FAILURE;
    };
    let mut child = match Command::new(&program).args(args).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("lab-head: {program}: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(pipe) = child.stdout.take() {
        let mut line = String::new();
        let _ = BufReader::new(pipe).read_line(&mut line);
        print!("{line}");
    }
    let code = child.wait().ok().and_then(|status| u8::try_from(status.code()?).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// `lab-merge CMD...`: standard error into standard output, for a person who reads both in their order.
pub fn merge(mut args: impl Iterator<Item = String>) -> ExitCode {
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
