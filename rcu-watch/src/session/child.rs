//! `-- CMD`: runs beside the watch, and ends it.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcu_watch_core::report::summary::CommandStatus;
use tokio::process::{Child, Command};

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
        let child = Command::new(program)
            .args(arguments)
            .stdout(stdout)
            .spawn()
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
