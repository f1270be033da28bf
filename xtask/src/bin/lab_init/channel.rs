//! The way out: frames over the second serial port.
//!
//! A thread of its own writes them, from a queue without bound: a slow emulated port must not hold up the
//! program whose output it carries, or the lab would itself cause the losses that it looks for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use xtask::wire::{Frame, Kind};

const PORT: &str = "/dev/ttyS1";

enum Message {
    Frame(Frame),
    Flush(Sender<()>),
}

/// Sends frames; clones share the port.
#[derive(Clone)]
pub(crate) struct Channel {
    queue: Sender<Message>,
}

impl Channel {
    pub(crate) fn send(&self, kind: Kind, label: &str, payload: &[u8]) {
        let frame = Frame { kind, label: label.to_owned(), payload: payload.to_vec() };
        // Fails only when the writer is gone, and then nobody can be told.
        let _ = self.queue.send(Message::Frame(frame));
    }

    /// Until everything sent so far has left the port.
    pub(crate) fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

pub(crate) fn open() -> io::Result<Channel> {
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(PORT)
        .map_err(|error| io::Error::new(error.kind(), format!("{PORT}: {error}")))?;
    make_raw(&port)?;
    let (queue, messages) = channel();
    thread::Builder::new().name("lab-channel".into()).spawn(move || write_all(port, &messages))?;
    Ok(Channel { queue })
}

fn write_all(mut port: File, messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Frame(frame) => {
                if let Err(error) = port.write_all(&frame.encode()) {
                    eprintln!("lab_init: {PORT}: {error}");
                    return;
                }
            }
            Message::Flush(done) => {
                // SAFETY: an open descriptor; the call touches no memory of ours.
                unsafe { libc::tcdrain(port.as_raw_fd()) };
                let _ = done.send(());
            }
        }
    }
}

fn make_raw(port: &File) -> io::Result<()> {
    // SAFETY: termios is plain integers; all zeroes is a value of it.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a termios that lives over both calls.
    let ok = unsafe {
        libc::tcgetattr(port.as_raw_fd(), &raw mut termios) == 0 && {
            libc::cfmakeraw(&raw mut termios);
            libc::tcsetattr(port.as_raw_fd(), libc::TCSANOW, &raw const termios) == 0
        }
    };
    if ok { Ok(()) } else { Err(io::Error::last_os_error()) }
}
