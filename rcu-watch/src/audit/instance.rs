//! A tracing instance of our own: nobody else's tracing is touched, and nothing of ours stays.
//!
//! Named after this process and held by a lock on its directory (the kernel's `rmdir` does not mind one). Its
//! guard removes it when we die in whatever way; where even that failed, the next start finds a directory that
//! nobody holds and removes it first. All reads go to `trace_pipe_raw`, which does not wait and has no columns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcu_watch_core::units::CpuId;

use super::format::Formats;
use super::guard::Guard;
use crate::kernel::plan::glob::Glob;

const PREFIX: &str = "rcu-watch-";
/// Attempts at a directory that the kernel says is busy: a reader's last descriptor closes a little later.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// All functions where empty.
    pub functions: &'a [Glob],
    /// Not the idle tasks alone: CPUs with an EQS in user space run them in anybody's context.
    pub all_tasks: bool,
    pub buffer_kib: u32,
}

fn own_path(tracefs: &Path) -> PathBuf {
    tracefs.join("instances").join(format!("{PREFIX}{}", std::process::id()))
}

/// Starts who will remove the instance however we end. To be called while this process has one thread.
///
/// # Errors
/// Where there can be no further process or descriptor.
pub(crate) fn guard(tracefs: &Path) -> io::Result<Guard> {
    let path = own_path(tracefs);
    Guard::start(move || !path.exists() || remove(&path).is_ok())
}

/// The instance while it is there.
pub(crate) struct Instance {
    path: PathBuf,
    cpus: Vec<(CpuId, File)>,
    guard: Guard,
    /// Whoever looks for dead owners' instances finds this one held.
    _lock: File,
}

impl Instance {
    /// Makes it, with everything set and hooked, and nothing recorded yet.
    ///
    /// # Errors
    /// Where tracefs refuses.
    pub(crate) fn create(tracefs: &Path, cpus: &[CpuId], scope: &Scope<'_>, guard: Guard) -> Result<Self> {
        let instances = tracefs.join("instances");
        let all = lock(&instances).context("another audit is starting; try again")?;
        remove_dead(&instances);
        let path = own_path(tracefs);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let own = lock(&path)?;
        drop(all);
        let mut instance = Self { path, cpus: Vec::new(), guard, _lock: own };
        match instance.set_up(scope).and_then(|()| instance.hook(cpus)) {
            Ok(()) => Ok(instance),
            Err(error) => {
                // The refusal is what there is to tell.
                let _ = instance.remove();
                Err(error)
            }
        }
    }

    fn set_up(&self, scope: &Scope<'_>) -> Result<()> {
        self.write("tracing_on", "0")?;
        self.write("trace_clock", "local")?;
        self.write("buffer_size_kb", &scope.buffer_kib.to_string())?;
        if !scope.all_tasks {
            self.write("set_event_pid", "0")?;
            self.write("set_ftrace_pid", "0")?;
        }
        self.write("events/power/cpu_idle/enable", "1")?;
        if scope.all_tasks {
            for event in ["user_enter", "user_exit"] {
                // A kernel with nohz_full CPUs has them.
                self.write(&format!("events/context_tracking/{event}/enable"), "1")?;
            }
        }
        for glob in scope.functions {
            self.append("set_ftrace_filter", &glob.to_string())
                .with_context(|| format!("no traceable function of this kernel matches {glob}"))?;
        }
        Ok(())
    }

    /// Hooks the functions: the kernel patches its text, which takes a moment. While a pipe is open it would
    /// not change the tracer (kernel/trace/trace.c:tracing_set_tracer).
    fn hook(&mut self, cpus: &[CpuId]) -> Result<()> {
        self.write("current_tracer", "function")?;
        for &cpu in cpus {
            let path = self.path.join(format!("per_cpu/cpu{cpu}/trace_pipe_raw"));
            let pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
            self.cpus.push((cpu, pipe.with_context(|| format!("cannot open {}", path.display()))?));
        }
        Ok(())
    }

    /// Records from now on.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) fn record(&self, on: bool) -> Result<()> {
        self.write("tracing_on", if on { "1" } else { "0" })
    }

    /// Takes whatever was recorded, page by page, each CPU's in its order.
    ///
    /// # Errors
    /// That of a read.
    pub(crate) fn drain(&mut self, formats: &Formats, mut take: impl FnMut(CpuId, &[u8])) -> io::Result<()> {
        let mut page = vec![0; formats.page_bytes.max(4096)];
        for (cpu, pipe) in &mut self.cpus {
            loop {
                match pipe.read(&mut page) {
                    Ok(0) => break,
                    Ok(length) => take(*cpu, &page[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Unhooks everything and removes the instance.
    ///
    /// # Errors
    /// Where the kernel does not let go of it.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.cpus.clear();
        remove(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        self.guard.dismiss();
        Ok(())
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        write(&path, value).with_context(|| format!("cannot write `{value}` to {}", path.display()))
    }

    fn append(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        let mut file = OpenOptions::new().append(true).open(&path)?;
        // Of several lines only the last would be told whether it matched.
        file.write_all(format!("{value}\n").as_bytes())
            .with_context(|| format!("cannot write `{value}` to {}", path.display()))
    }
}

/// To a file that is there.
fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// An exclusive lock on a directory, for as long as the descriptor is open.
fn lock(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    directory.try_lock()?;
    Ok(directory)
}

/// Removes instances whose owner died together with its guard.
fn remove_dead(instances: &Path) {
    for instance in fs::read_dir(instances).into_iter().flatten().flatten() {
        let is_ours = instance.file_name().to_string_lossy().starts_with(PREFIX);
        // One that is held has its owner or its guard to see to it.
        if is_ours && lock(&instance.path()).is_ok() {
            let _ = remove(&instance.path());
        }
    }
}

/// Unhooks and removes an instance; whether it is gone.
fn remove(path: &Path) -> io::Result<()> {
    let _ = write(&path.join("tracing_on"), "0");
    let _ = write(&path.join("current_tracer"), "nop");
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result,
        };
        if result.is_ok() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    result
}
