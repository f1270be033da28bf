//! The guard child: waits for our end, however it comes, and then removes our tracing instance.
//!
//! A process that is killed cannot clean up, and an instance that stays keeps every function of the kernel
//! hooked. The child holds the read end of a pipe; when the last write end closes, we are done or dead. It is in
//! a session of its own, so that what ends our process group does not end it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use super::instance;

/// The child, from the parent's side.
pub struct Guard {
    /// Closing it ends the child.
    pipe: Option<OwnedFd>,
    pid: libc::pid_t,
}

impl Guard {
    /// Starts it for the instance at `path`. To be called while this process has one thread and none of the
    /// instance's files open.
    ///
    /// # Errors
    /// Where there can be no further process or descriptor.
    pub fn start(path: &Path) -> io::Result<Self> {
        let mut ends: [RawFd; 2] = [-1; 2];
        // SAFETY: writes two descriptors to the array.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: two new descriptors that nobody else owns.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: this process has one thread, so the child's memory is whole and none of its locks is held.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(write);
                watch(File::from(read), path)
            }
            pid => Ok(Self { pipe: Some(write), pid }),
        }
    }

    /// Tells it that there is nothing left to do, and waits for its end.
    pub fn dismiss(&mut self) {
        self.pipe = None;
        // SAFETY: our own child; no status is asked for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// The child's life.
fn watch(mut pipe: File, path: &Path) -> ! {
    // SAFETY: plain calls on this process. Standard input and outputs are given up: whoever reads them must not
    // wait for us. The name tells it from its parent in `ps`.
    unsafe {
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::prctl(libc::PR_SET_NAME, c"rcuw-guard".as_ptr());
    }
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for standard in 0..=2 {
            // SAFETY: both are descriptors of this process, and nothing here uses the standard ones.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    // Nobody writes: the only thing to come is the end.
    let _ = pipe.read(&mut [0]);
    let gone = !path.exists() || instance::remove(path).is_ok();
    std::process::exit(i32::from(!gone));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_removes_what_it_guards_once_the_pipe_closes() {
        let path = std::env::temp_dir().join(format!("rcu-watch-guard-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let mut guard = Guard::start(&path).unwrap();
        assert!(path.exists());
        guard.dismiss();
        assert!(!path.exists());
    }
}
