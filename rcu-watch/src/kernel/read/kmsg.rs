//! The kernel's log as it grows: /dev/kmsg, a record a read (Documentation/ABI/testing/dev-kmsg).
//!
//! ```text
//! 4,1234,42628511,-;RCU not on for: arch_cpu_idle+0x0/0x20
//!  SUBSYSTEM=cpu
//! ```
//!
//! The first number is the priority; its facility tells what the kernel said from what user space wrote there, which is
//! left out. Nothing here waits: the descriptor does not block, and a log that has no more says so. The hard thing is that
//! the kernel overwrites what is not read in time: the numbers of the records tell how many are gone.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};

use nix::sys::stat::{major, minor};

use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;

/// kernel/printk/printk.c:devkmsg_read gives no record that is longer (CONSOLE_EXT_LOG_MAX, PRINTKRB_RECORD_MAX).
const LONGEST: usize = 8192;

/// include/uapi/linux/major.h:MEM_MAJOR, and drivers/char/mem.c:devlist.
const DEVICE: (u64, u64) = (1, 11);

/// From where on a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// All that the kernel still has.
    Oldest,
    /// What it prints from now on.
    Now,
}

/// The kernel's log, open.
#[derive(Debug)]
pub(crate) struct KernelLog<R = File> {
    records: R,
    buffer: Vec<u8>,
    /// Number of the next record, once one was read.
    next: Option<u64>,
}

/// What a log had since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// As dmesg prints them: `[   42.628511] text`, or `[   42.628511][    T1] text` where the kernel tells who printed it.
    pub lines: Vec<String>,
    /// Records that were overwritten before they were read.
    pub overwritten: u64,
}

impl KernelLog {
    /// Opens the log of this machine.
    ///
    /// # Errors
    /// Why it is closed to this process, and what opens it.
    pub(crate) fn open(tree: &Tree, since: Since) -> Result<Self, Reason> {
        let path = tree.path("/dev/kmsg");
        let mut options = OpenOptions::new();
        let open = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(&path);
        let mut records = open.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Reason::with_remedy(
                "the kernel's log is closed to this process (kernel.dmesg_restrict)",
                "run as root or with CAP_SYSLOG",
            ),
            ErrorKind::NotFound => Reason::with_remedy(
                "there is no /dev/kmsg here, as in most containers",
                "run on the host, or give the container its /dev/kmsg",
            ),
            _ => Reason::new(format!("/dev/kmsg cannot be opened: {error}")),
        })?;
        // Some container runtimes link it to the terminal.
        let is_log = records.metadata().is_ok_and(|metadata| {
            metadata.file_type().is_char_device()
                && (major(metadata.rdev()), minor(metadata.rdev())) == DEVICE
        });
        if !is_log {
            return Err(Reason::with_remedy("/dev/kmsg here is not the kernel's log", "run on the host"));
        }
        if since == Since::Now {
            let end = records.seek(SeekFrom::End(0));
            end.map_err(|error| Reason::new(format!("/dev/kmsg has no end to start from: {error}")))?;
        }
        Ok(Self::of(records))
    }
}

impl<R: Read> KernelLog<R> {
    fn of(records: R) -> Self {
        Self { records, buffer: vec![0; LONGEST], next: None }
    }

    /// Takes what is there, `most` records at most, without waiting for more.
    ///
    /// # Errors
    /// That of the read.
    pub(crate) fn news(&mut self, most: usize) -> io::Result<News> {
        let mut news = News::default();
        for _ in 0..most {
            match self.records.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let Some(record) = Record::parse(&self.buffer[..length]) else { continue };
                    let expected = self.next.replace(record.number + 1).unwrap_or(record.number);
                    news.overwritten += record.number.saturating_sub(expected);
                    if record.is_of_kernel {
                        news.lines.extend(record.lines());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The next read begins with the oldest record that is left, and its number says what is not.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(news)
    }
}

/// One call of printk.
struct Record {
    /// kernel/printk/printk.c:devkmsg_write gives no record of user space the kernel's facility, 0.
    is_of_kernel: bool,
    number: u64,
    micros: u64,
    /// `T12` or `C3`, with CONFIG_PRINTK_CALLER.
    caller: Option<String>,
    text: String,
}

impl Record {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (prefix, rest) = text.split_once(';')?;
        // More fields may follow the flags, such as `caller=T1`.
        let mut fields = prefix.split(',');
        let is_of_kernel = fields.next()?.parse::<u32>().ok()? >> 3 == 0;
        let number = fields.next()?.parse().ok()?;
        let micros = fields.next()?.parse().ok()?;
        let caller = fields.find_map(|field| field.strip_prefix("caller=")).map(str::to_owned);
        // Lines after the first are ` KEY=value`.
        let text = unescape(rest.lines().next().unwrap_or(""));
        Some(Self { is_of_kernel, number, micros, caller, text })
    }

    /// Each line of the text, with the time of all of them.
    fn lines(&self) -> impl Iterator<Item = String> {
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let caller = self.caller.as_ref().map_or_else(String::new, |caller| format!("[{caller:>6}]"));
        self.text.split('\n').map(move |line| format!("[{seconds:5}.{micros:06}]{caller} {line}"))
    }
}

/// What the kernel writes as `\x09`: all that is not printable ASCII, and the backslash
/// (kernel/printk/printk.c:msg_add_ext_text).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let byte = tail
            .strip_prefix(b"x")
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits.get(..2)?).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each read with the next of these; then there is no more.
    struct Script(Vec<Result<&'static str, i32>>);

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::from_raw_os_error(libc::EAGAIN));
            }
            let record = self.0.remove(0).map_err(io::Error::from_raw_os_error)?;
            into[..record.len()].copy_from_slice(record.as_bytes());
            Ok(record.len())
        }
    }

    fn log(script: Vec<Result<&'static str, i32>>) -> KernelLog<Script> {
        KernelLog::of(Script(script))
    }

    #[test]
    fn a_record_reads_like_a_line_of_dmesg_and_its_keys_are_left_out() {
        let mut log = log(vec![
            Ok("4,1234,42628511,-;RCU not on for: f+0x0/0x1\n SUBSYSTEM=x\n DEVICE=+y\n"),
            Ok("4,1235,7,-,caller=T12;rcu: \\x093-...!: a \\\\ b\n"),
            Ok("garbage"),
        ]);
        let lines = log.news(10).unwrap().lines;
        assert_eq!(
            lines,
            ["[   42.628511] RCU not on for: f+0x0/0x1", "[    0.000007][   T12] rcu: \t3-...!: a \\\\ b"]
        );
    }

    #[test]
    fn what_user_space_wrote_into_the_log_is_not_the_kernels_word() {
        let mut log =
            log(vec![Ok("6,1,1,-;a\n"), Ok("12,2,2,-;RCU not on for: f+0x0/0x1\n"), Ok("4,3,3,-;b\n")]);
        let News { lines, overwritten } = log.news(10).unwrap();
        assert_eq!(
            (&lines[..], overwritten),
            (&["[    0.000001] a".to_owned(), "[    0.000003] b".to_owned()][..], 0)
        );
    }

    #[test]
    fn a_record_of_several_lines_gives_each_of_them() {
        let lines = log(vec![Ok("4,1,0,-;\\x0astack backtrace:\n")]).news(10).unwrap().lines;
        assert_eq!(lines, ["[    0.000000] ", "[    0.000000] stack backtrace:"]);
    }

    #[test]
    fn records_that_were_overwritten_are_counted_by_the_numbers_of_those_around_them() {
        let mut log = log(vec![
            Ok("6,100,1,-;a\n"),
            Err(libc::EPIPE),
            Ok("6,140,2,-;b\n"),
            Err(libc::EAGAIN),
            Ok("6,141,3,-;c\n"),
        ]);
        let first = log.news(10).unwrap();
        assert_eq!((first.lines.len(), first.overwritten), (2, 39));
        let second = log.news(10).unwrap();
        assert_eq!((second.lines.len(), second.overwritten), (1, 0));
    }

    #[test]
    fn a_log_that_never_ends_is_left_after_as_many_records_as_were_asked_for() {
        let mut log = log(vec![Ok("6,1,1,-;a\n"), Ok("6,2,1,-;b\n")]);
        assert_eq!(log.news(1).unwrap().lines.len(), 1);
        assert_eq!(log.news(1).unwrap().lines.len(), 1);
        assert!(log.news(1).unwrap().lines.is_empty());
    }

    #[test]
    fn what_is_no_log_of_a_kernel_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::under(directory.path());
        let why = |tree: &Tree| KernelLog::open(tree, Since::Now).unwrap_err().to_string();
        assert!(why(&tree).contains("as in most containers; "), "{}", why(&tree));
        std::fs::create_dir(directory.path().join("dev")).unwrap();
        std::fs::write(directory.path().join("dev/kmsg"), "6,1,1,-;a\n").unwrap();
        assert!(why(&tree).contains("is not the kernel's log; "), "{}", why(&tree));
    }
}
