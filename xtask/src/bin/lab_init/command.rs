//! Small commands that run another command in some special place, or something again and again.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// `lab-as UID CMD...`: without root, and so without any capability.
pub(crate) fn run_as(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(uid), Some(program)) = (args.next().and_then(|uid| uid.parse().ok()), args.next()) else {
        eprintln!("lab-as: give a user's number and a command");
        return ExitCode::FAILURE;
    };
    let error = Command::new(&program).args(args).uid(uid).gid(uid).exec();
    eprintln!("lab-as: {program}: {error}");
    ExitCode::FAILURE
}

/// `lab-head CMD...`: reads one line of its output, closes the pipe, and ends with its code.
pub(crate) fn head(mut args: impl Iterator<Item = String>) -> ExitCode {
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

/// `lab-stopped CMD...`: becomes the command, with a reader on its standard output that prints the first line and takes
/// nothing after that until the command has ended.
pub(crate) fn stopped(mut args: impl Iterator<Item = String>) -> ExitCode {
    let program = match args.next() {
        Some(option) if option == "--read" => return read_one(),
        Some(program) => program,
        None => {
            eprintln!("lab-stopped: give a command");
            return ExitCode::FAILURE;
        }
    };
    // In a group of its own: what ends the command is not for it.
    let reader = io::pipe().and_then(|(reader, writer)| {
        let mut read = Command::new("/proc/self/exe");
        read.arg0("lab-stopped").arg("--read").stdin(reader).process_group(0).spawn()?;
        Ok(writer)
    });
    let error = match reader {
        Ok(writer) => Command::new(&program).args(args).stdout(writer).exec(),
        Err(error) => error,
    };
    eprintln!("lab-stopped: {program}: {error}");
    ExitCode::FAILURE
}

fn read_one() -> ExitCode {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {
        line.push(byte[0]);
    }
    print!("{}", String::from_utf8_lossy(&line));
    let _ = io::stdout().flush();
    // Nothing is waited for but the end of all writers, which is always told.
    let mut end = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
    // SAFETY: one entry, which lives until after the call.
    unsafe { libc::poll(&raw mut end, 1, -1) };
    ExitCode::SUCCESS
}

/// `lab-merge CMD...`: standard error into standard output, for a person who reads both in their order.
pub(crate) fn merge(mut args: impl Iterator<Item = String>) -> ExitCode {
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

/// `lab-write PATH VALUE SECONDS`: writes the value to the file again and again on cpu 0, which is the one that the
/// machine's NMIs go to, without a pause: whoever wakes up meanwhile does so on another CPU.
pub(crate) fn write(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(path), Some(value), Some(seconds)) =
        (args.next(), args.next(), args.next().and_then(|text| text.parse().ok()))
    else {
        eprintln!("lab-write: give a file, a value and seconds");
        return ExitCode::FAILURE;
    };
    if let Err(error) = crate::load::stay_on(0) {
        eprintln!("lab-write: cpu 0: {error}");
        return ExitCode::FAILURE;
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut times = 0;
    while Instant::now() < end {
        if let Err(error) = fs::write(&path, &value) {
            eprintln!("lab-write: {path}: {error}");
            return ExitCode::FAILURE;
        }
        times += 1;
    }
    println!("lab-write: {times} times");
    ExitCode::SUCCESS
}

/// `lab-cycle TIMES CMD...`: runs it to its end so often. Ends with the first code that is neither 0 nor 3: rounds of
/// rcu-watch in which a record was lost count, since what is asked is what they leave behind.
pub(crate) fn cycle(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(times), Some(program)) = (args.next().and_then(|text| text.parse::<u32>().ok()), args.next())
    else {
        eprintln!("lab-cycle: give a number and a command");
        return ExitCode::FAILURE;
    };
    let args: Vec<String> = args.collect();
    for round in 1..=times {
        let status = Command::new(&program).args(&args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match status {
            Ok(status) if matches!(status.code(), Some(0 | 3)) => {}
            Ok(status) => {
                eprintln!("lab-cycle: round {round}: {program}: {status}");
                return status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .map_or(ExitCode::FAILURE, ExitCode::from);
            }
            Err(error) => {
                eprintln!("lab-cycle: {program}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("lab-cycle: {times} rounds");
    ExitCode::SUCCESS
}

/// `lab-insmod NAME`: loads the lab's module, where it is of interest that the kernel refuses it.
pub(crate) fn insmod(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(name) = args.next() else {
        eprintln!("lab-insmod: give a module's name");
        return ExitCode::FAILURE;
    };
    said("lab-insmod", crate::machine::load_module(&name, ""))
}

/// `lab-dir make|remove PATH`: a directory, which in tracefs is an instance.
pub(crate) fn directory(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (what, path) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let done = match what.as_str() {
        "make" => fs::create_dir(&path),
        "remove" => fs::remove_dir(&path),
        _ => Err(io::Error::other("give make or remove, and a path")),
    };
    said("lab-dir", done.map_err(|error| format!("{path}: {error}")))
}

fn said(who: &str, outcome: Result<(), String>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{who}: {error}");
    ExitCode::FAILURE
}

/// `lab-held`: how many BPF programs, maps and links the kernel has, whosever they are.
pub(crate) fn held() -> ExitCode {
    // enum bpf_cmd of include/uapi/linux/bpf.h.
    for (what, next_id) in [("programs", 11), ("maps", 12), ("links", 31)] {
        // start_id, next_id, open_flags of union bpf_attr.
        let mut attr = [0_u32; 3];
        let mut count = 0;
        // SAFETY: the kernel reads and writes the twelve bytes of `attr`.
        while unsafe { libc::syscall(libc::SYS_bpf, next_id, attr.as_mut_ptr(), size_of_val(&attr)) } == 0 {
            count += 1;
            attr[0] = attr[1];
        }
        println!("{what} {count}");
    }
    ExitCode::SUCCESS
}
