//! QEMU's command line, and its start.
//!
//! The kernel's console is the first serial port (QEMU's standard output), PID 1's frames the second, the monitor (see
//! `monitor`) a socket; we listen and QEMU connects, so nothing has to be waited for.

use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::QEMU;
use super::accel::Accel;
use super::monitor::Monitor;
use crate::process::on_path;

const FRAMES_SOCKET: &str = "frames";
const MONITOR_SOCKET: &str = "monitor";

/// A guest to be.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub cpus: u32,
    pub memory_mib: u32,
    /// More for the kernel's command line.
    pub append: String,
    /// Whether time is counted in instructions: every run is the same, whatever else this machine does.
    pub counts: bool,
}

/// A busy machine stops an emulated processor for longer than a kernel allows one to stand still (20 s without a context
/// switch, 21 s without a grace period), and longer than it waits for the timer to tick at boot (ten jiffies:
/// arch/x86/kernel/apic/io_apic.c, `timer_irq_works`); one that hangs runs into the plan's limits all the same.
const PATIENT: &str = "no_timer_check watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120";

/// With less than all of these two runs differ.
const COUNTING: &str = "-icount shift=0,sleep=off -rtc base=2024-01-01,clock=vm -seed 1";
const COUNTING_CPU: &str = "max,-rdrand,-rdseed";
const COUNTING_APPEND: &str = "nokaslr norandmaps";

impl Machine {
    fn arguments(&self, accel: Accel, sockets: &Path) -> Vec<OsString> {
        let Self { kernel, initramfs, cpus, memory_mib, append, counts } = self;
        let socket = |id: &str| format!("socket,id={id},path={}", sockets.join(id).display());
        // Warnings reach the console, so that a splat of the kernel's is seen; a panic ends QEMU at once.
        let mut command_line = "console=ttyS0 rdinit=/init panic=-1 loglevel=5".to_owned();
        if accel == Accel::Tcg {
            command_line = format!("{command_line} {PATIENT}");
        }
        let (more, cpu, append_more) =
            if *counts { (COUNTING, COUNTING_CPU, COUNTING_APPEND) } else { ("", "max", "") };
        for words in [append.as_str(), append_more].into_iter().filter(|words| !words.is_empty()) {
            command_line = format!("{command_line} {words}");
        }
        let words: Vec<String> = [
            "-nodefaults -no-user-config -no-reboot -display none",
            "-device isa-debug-exit,iobase=0xf4,iosize=0x04 -serial stdio",
        ]
        .iter()
        .chain([&more])
        .flat_map(|words| words.split_whitespace())
        .map(str::to_owned)
        .chain(["-cpu".into(), cpu.into()])
        .chain(["-accel".into(), accel.argument().into()])
        .chain(["-smp".into(), cpus.to_string(), "-m".into(), format!("{memory_mib}M")])
        .chain([
            "-chardev".into(),
            socket(FRAMES_SOCKET),
            "-serial".into(),
            format!("chardev:{FRAMES_SOCKET}"),
        ])
        .chain(["-chardev".into(), socket(MONITOR_SOCKET)])
        .chain(["-mon".into(), format!("chardev={MONITOR_SOCKET},mode=control")])
        .chain(["-append".into(), command_line])
        .collect();
        let files = ["-kernel".into(), kernel.clone().into(), "-initrd".into(), initramfs.clone().into()];
        words.into_iter().map(OsString::from).chain(files).collect()
    }
}

/// A started QEMU with its two sockets.
#[derive(Debug)]
pub(crate) struct Qemu {
    pub child: Child,
    pub frames: UnixStream,
    pub monitor: Monitor,
}

impl Qemu {
    /// `sockets` is a directory of our own with a short path: a socket's has 107 bytes at most.
    pub(crate) fn start(machine: &Machine, accel: Accel, sockets: &Path) -> Result<Self> {
        if !on_path(QEMU) {
            bail!("{QEMU} is not on PATH; run `cargo xtask setup`");
        }
        let listen = |name: &str| {
            let path = sockets.join(name);
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
        };
        let (frames, monitor) = (listen(FRAMES_SOCKET)?, listen(MONITOR_SOCKET)?);
        let mut child = Command::new(QEMU)
            .args(machine.arguments(accel, sockets))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {QEMU}"))?;
        let connected = accept(&frames, &mut child)
            .and_then(|frames| Ok((frames, Monitor::open(accept(&monitor, &mut child)?)?)));
        match connected {
            Ok((frames, monitor)) => Ok(Self { child, frames, monitor }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }
}

/// A QEMU that refuses its arguments ends before it connects.
fn accept(listener: &UnixListener, child: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    for _ in 0..1000 {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = child.try_wait()? {
            bail!("{QEMU} did not start: {status}");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bail!("{QEMU} did not connect within 20 s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_is_single_threaded_and_a_panic_ends_the_machine() {
        let machine = Machine {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            cpus: 1,
            memory_mib: 512,
            append: "nohz=off".into(),
            counts: false,
        };
        let arguments = machine.arguments(Accel::Tcg, Path::new("/s"));
        let all = arguments.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(all.contains("-accel tcg,thread=single -smp 1 -m 512M"), "{all}");
        assert!(all.contains("-no-reboot") && all.contains("panic=-1"), "{all}");
        assert!(
            all.contains("loglevel=5 no_timer_check watchdog_thresh=60") && all.contains("=120 nohz=off"),
            "{all}"
        );
        assert!(!all.contains("icount"), "{all}");
    }

    #[test]
    fn a_machine_that_counts_leaves_nothing_to_chance() {
        let machine = Machine {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            cpus: 1,
            memory_mib: 512,
            append: String::new(),
            counts: true,
        };
        let arguments = machine.arguments(Accel::Tcg, Path::new("/s"));
        let all = arguments.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        for words in
            ["-icount shift=0,sleep=off", "clock=vm", "-seed 1", "-rdrand,-rdseed", "nokaslr norandmaps"]
        {
            assert!(all.contains(words), "{words} in {all}");
        }
    }
}
