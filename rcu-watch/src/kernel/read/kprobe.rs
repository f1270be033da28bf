//! The kernel's own list of kprobes, from debugfs `kprobes/list`.
//!
//! `ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]`: address, `k` or `r` (return), place, module,
//! and `[DISABLED]`, `[GONE]`, `[OPTIMIZED]`, `[FTRACE]`. Its owner is not in it.

use std::io::{self, Read};
use std::ops::ControlFlow;

use crate::kernel::read::line::each_line;

/// One kprobe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kprobe {
    /// 0 where the kernel hides addresses.
    pub address: u64,
    pub function: String,
    pub offset: u64,
    pub module: Option<String>,
    pub is_return: bool,
    pub is_disabled: bool,
    pub is_gone: bool,
    pub is_optimized: bool,
    pub is_on_ftrace: bool,
}

impl Kprobe {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
        let kind = words.next()?;
        let place = words.next()?;
        let (function, offset) = place.split_once('+').unwrap_or((place, "0x0"));
        let offset = u64::from_str_radix(offset.trim_start_matches("0x"), 16).ok()?;
        let flags = line.split_once(place)?.1;
        // `place  module [FLAGS]`: the module has no brackets, the flags stand in one block.
        let module = words.next().filter(|word| !word.starts_with('['));
        Some(Self {
            address,
            function: function.to_owned(),
            offset,
            module: module.map(str::to_owned),
            is_return: kind == "r",
            is_disabled: flags.contains("[DISABLED]"),
            is_gone: flags.contains("[GONE]"),
            is_optimized: flags.contains("[OPTIMIZED]"),
            is_on_ftrace: flags.contains("[FTRACE]"),
        })
    }

    /// It can run.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !self.is_disabled && !self.is_gone
    }
}

/// Every kprobe of the list.
///
/// # Errors
/// That of the read.
pub(crate) fn read(source: impl Read) -> io::Result<Vec<Kprobe>> {
    let mut kprobes = Vec::new();
    each_line(source, |line| {
        kprobes.extend(Kprobe::parse(line));
        ControlFlow::Continue(())
    })?;
    Ok(kprobes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6.12, with endbr64 before the ftrace site; the last two lines are of the shape that modules have.
    const LIST: &str = "\
ffffffff8551dbe4  r  uptime_proc_show+0x4    [FTRACE]
ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8551c784  k  loadavg_proc_show+0x4    [DISABLED][FTRACE]
ffffffffc02a4000  k  demo_entry+0x0  demo [GONE]
ffffffffc02a4010  k  demo_exit+0x3  demo
";

    #[test]
    fn kinds_places_and_flags_are_read() {
        let kprobes = read(LIST.as_bytes()).unwrap();
        let summary: Vec<_> = kprobes
            .iter()
            .map(|k| (k.function.as_str(), k.offset, k.module.as_deref(), k.is_return, k.is_live()))
            .collect();
        assert_eq!(
            summary,
            [
                ("uptime_proc_show", 4, None, true, true),
                ("version_proc_show", 9, None, false, true),
                ("loadavg_proc_show", 4, None, false, false),
                ("demo_entry", 0, Some("demo"), false, false),
                ("demo_exit", 3, Some("demo"), false, true),
            ]
        );
        assert!(kprobes[0].is_on_ftrace && !kprobes[0].is_optimized);
        assert!(kprobes[1].is_optimized && !kprobes[1].is_on_ftrace);
    }

    #[test]
    fn lines_of_another_shape_are_no_kprobes() {
        assert_eq!(read("nothing here\n\n".as_bytes()).unwrap(), []);
    }
}
