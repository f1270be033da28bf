//! `-- CMD`: runs beside the watch, and ends it.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcu_watch_core::report::summary::CommandStatus;
use tokio::process::{Child, Command};

use crate::kernel::as_started;

/// How long a command that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running command.
pub struct RunningCommand {
    text: String,
    child: Child,
}

impl RunningCommand {
    /// Starts it. Its standard output goes to standard error where ours carries the stream.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &[OsString], own_stdout_is_taken: bool) -> Result<Option<Self>> {
        let Some((program, arguments)) = command.split_first() else { return Ok(None) };
        let text = command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let stdout = if own_stdout_is_taken { Stdio::from(std::io::stderr()) } else { Stdio::inherit() };
        let mut command = Command::new(program);
        // A run that fails leaves nothing behind. The descriptors that we open are closed on exec.
        command.args(arguments).stdout(stdout).kill_on_drop(true);
        let child = as_started(|| command.spawn())
            .with_context(|| format!("cannot run {text}; name a command that is on PATH after `--`"))?;
        Ok(Some(Self { text, child }))
    }

    /// Waits for its end. Safe to drop and call again.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("cannot wait for {}", self.text))
    }

    /// Has it end, if it still runs, and says how it ended.
    ///
    /// # Errors
    /// Where it cannot be waited for.
    pub async fn finish(mut self) -> Result<CommandStatus> {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // A child that was not waited for keeps its pid. One that ended meanwhile cannot be told to.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
                self.child.kill().await.with_context(|| format!("cannot end {}", self.text))?;
            }
        }
        let status = self.wait().await?;
        Ok(CommandStatus { command: self.text, code: status.code(), signal: status.signal() })
    }
}

/// Whether it ended other than by success.
#[must_use]
pub(crate) fn failed(status: &CommandStatus) -> bool {
    status.code != Some(0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;
    use crate::sys::limit::lift_memory_limit;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn start(script: &str) -> RunningCommand {
        let command = ["sh", "-c", script].map(OsString::from);
        RunningCommand::start(&command, false).unwrap().unwrap()
    }

    #[test]
    fn a_command_has_the_limits_that_we_were_started_with() {
        const KIB: u64 = 64;
        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
        setrlimit(Resource::RLIMIT_MEMLOCK, KIB << 10, hard).unwrap();
        lift_memory_limit();
        let lifted = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
        let said = tempfile::NamedTempFile::new().unwrap();
        let status = runtime().block_on(async {
            let mut command = start(&format!("ulimit -S -l > {}", said.path().display()));
            command.wait().await.unwrap()
        });
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(said.path()).unwrap().trim(), KIB.to_string());
        assert_eq!(getrlimit(Resource::RLIMIT_MEMLOCK).unwrap(), lifted);
    }

    #[test]
    fn a_run_that_fails_ends_its_command() {
        let runtime = runtime();
        let is_alive = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        let pid = runtime.block_on(async {
            let command = start("exec sleep 1000");
            command.child.id().unwrap()
        });
        let until = Instant::now() + Duration::from_secs(10);
        while is_alive(pid) {
            assert!(Instant::now() < until, "it runs on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
