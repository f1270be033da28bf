//! The guard child: waits for our end, however it comes, and then removes our tracing instance.
//!
//! A process that is killed cannot clean up, and an instance that stays keeps every function of the kernel
//! hooked. The child holds the read end of a pipe; when the last write end closes, we are done or dead. It is in
//! a session of its own, so that what ends our process group does not end it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _};

use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// What may be sent to a whole process group, or comes of outputs that nobody reads.
const IGNORED: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE];

/// The child, from the parent's side.
pub(crate) struct Guard {
    /// Closing it ends the child.
    pipe: Option<PipeWriter>,
    child: Pid,
}

impl Guard {
    /// Starts it. `clean_up` is what the child does in the end; whether it worked is its exit code. To be called while
    /// this process has one thread and none of the instance's files open.
    ///
    /// # Errors
    /// Where there can be no further process or descriptor.
    pub(crate) fn start(clean_up: impl FnOnce() -> bool) -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        // SAFETY: this process has one thread, so the child's memory is whole and none of its locks is held.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(write);
                watch(read, clean_up)
            }
            ForkResult::Parent { child } => Ok(Self { pipe: Some(write), child }),
        }
    }

    /// Tells it that there is nothing left to do, and waits for its end.
    pub(crate) fn dismiss(&mut self) {
        self.pipe = None;
        // Our own child, whose status nobody asks for.
        let _ = waitpid(self.child, None);
    }
}

/// The child's life.
fn watch(mut pipe: PipeReader, clean_up: impl FnOnce() -> bool) -> ! {
    // None of this is worth giving up for.
    let _ = setsid();
    for ignored in IGNORED {
        // SAFETY: no handler is installed.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    // Tells it from its parent in `ps`.
    let _ = prctl::set_name(c"rcuw-guard");
    // Whoever reads our standard outputs must not wait for the child.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    // Nobody writes: the only thing to come is the end.
    let _ = pipe.read(&mut [0]);
    std::process::exit(i32::from(!clean_up()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_removes_what_it_guards_once_the_pipe_closes() {
        let path = tempfile::tempdir().unwrap().keep();
        let mut guard = Guard::start(|| std::fs::remove_dir(&path).is_ok()).unwrap();
        assert!(path.exists());
        guard.dismiss();
        assert!(!path.exists());
    }
}
