//! Whether this kernel's fprobe skips its handlers while RCU is not watching: some do, without a word.
//!
//! e0a624919040 ("tracing: fprobe: ... check rcu_is_watching()") made it look first, and went to stable kernels too,
//! so neither a version nor a symbol tells. The kernel's own code does: the function that ftrace calls either calls
//! `rcu_is_watching` or does not. It is read from /proc/kcore, and only where an fprobe is there at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::kernel::read::event::{EventKind, ProbeEvent};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::symbol::FoundSymbols;

/// First letters of the functions by which ftrace calls fprobes.
pub(crate) const PREFIX: &str = "fprobe_";

const CHECK: &str = "rcu_is_watching";
/// Longer than any of these functions.
const CODE_BYTES: usize = 2048;
/// Between two functions, by the compiler's padding.
const GAP_BYTES: usize = 8;

/// By what ftrace calls the fprobes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By<'a> {
    Callback(&'a str),
    /// Another handler shares their function, so ftrace names none; all of them are called at a function's entry.
    EntryOf,
    /// The same, and some may be called at a function's end.
    Any,
}

/// The functions that [`By`] may stand for, that of entries first: kernel/trace/fprobe.c has some of them.
const CALLBACKS: &[&str] = &["fprobe_ftrace_entry", "fprobe_fgraph_entry", "fprobe_handler"];

/// Whether what calls the fprobes looks at RCU. False where that cannot be seen: a handler that may run counts as one
/// that does.
#[must_use]
pub(crate) fn looks_first(tree: &Tree, by: By<'_>) -> bool {
    let wanted = |name: &str| match by {
        By::Callback(callback) => name == callback,
        By::EntryOf | By::Any => CALLBACKS.contains(&name),
    };
    let find = || -> io::Result<bool> {
        let symbols = File::open(tree.path("/proc/kallsyms"))?;
        let symbols = FoundSymbols::read(symbols, |name| name == CHECK || wanted(name))?;
        let starts: Vec<u64> = match by {
            By::Callback(callback) => symbols.address(callback).into_iter().collect(),
            By::EntryOf => CALLBACKS.iter().find_map(|name| symbols.address(name)).into_iter().collect(),
            By::Any => CALLBACKS.iter().filter_map(|name| symbols.address(name)).collect(),
        };
        let Some(check) = symbols.address(CHECK) else { return Ok(false) };
        let kcore = File::open(tree.path("/proc/kcore"))?;
        for &start in &starts {
            if !calls(&read_text(&kcore, start)?, start, check) {
                return Ok(false);
            }
        }
        Ok(!starts.is_empty())
    };
    cfg!(target_arch = "x86_64") && find().unwrap_or(false)
}

/// By what ftrace calls the fprobes of these events and programs, of which it named `callback`; `None` where there is no
/// fprobe.
#[must_use]
pub(crate) fn by<'a>(callback: Option<&'a str>, events: &[ProbeEvent], has_programs: bool) -> Option<By<'a>> {
    let mut on = events.iter().filter(|event| event.is_fprobe() && !event.on_in.is_empty()).peekable();
    match callback {
        Some(callback) => Some(By::Callback(callback)),
        None if has_programs => Some(By::Any),
        None if on.peek().is_none() => None,
        None if on.any(|event| event.kind == EventKind::FprobeReturn) => Some(By::Any),
        None => Some(By::EntryOf),
    }
}

/// Kernel text from an address on: /proc/kcore is an ELF core file, a segment for each mapped range.
fn read_text(kcore: &File, address: u64) -> io::Result<Vec<u8>> {
    let mut header = [0; 64];
    kcore.read_exact_at(&mut header, 0)?;
    let (table, size) = (word(&header, 32), usize::from(u16::from_le_bytes([header[54], header[55]])));
    for index in 0..u16::from_le_bytes([header[56], header[57]]) {
        let mut entry = [0; 56];
        kcore.read_exact_at(&mut entry, table + u64::from(index) * size as u64)?;
        let (offset, start, length) = (word(&entry, 8), word(&entry, 16), word(&entry, 32));
        let is_load = entry[..4] == [1, 0, 0, 0];
        if is_load && start <= address && address - start + CODE_BYTES as u64 <= length {
            let mut code = vec![0; CODE_BYTES];
            kcore.read_exact_at(&mut code, offset + (address - start))?;
            return Ok(code);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Whether the function that starts at `start` calls `target`: `e8`, and the distance from the next instruction.
fn calls(code: &[u8], start: u64, target: u64) -> bool {
    let is_gap = |gap: &[u8]| gap.iter().all(|&byte| byte == 0x90) || gap.iter().all(|&byte| byte == 0xcc);
    let end = code.windows(GAP_BYTES).position(is_gap).unwrap_or(code.len());
    code[..end].windows(5).zip(start..).any(|(call, at)| {
        let distance = i32::from_le_bytes([call[1], call[2], call[3], call[4]]);
        call[0] == 0xe8 && at.wrapping_add(5).wrapping_add_signed(i64::from(distance)) == target
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const START: u64 = 0xffff_ffff_8100_1000;

    fn call(at: u64, target: u64) -> [u8; 5] {
        let [a, b, c, d, ..] = target.wrapping_sub(START + at + 5).to_le_bytes();
        [0xe8, a, b, c, d]
    }

    #[test]
    fn fprobes_that_share_their_function_are_known_by_what_lists_them() {
        let event = |kind, on_in: &[Option<String>]| ProbeEvent {
            kind,
            group: "lab".to_owned(),
            name: "site".to_owned(),
            symbol: "vfs_read".to_owned(),
            module: None,
            offset: 0,
            on_in: on_in.to_vec(),
            by_perf: None,
            counts: None,
        };
        let entry = event(EventKind::Fprobe, &[None]);
        let exit = event(EventKind::FprobeReturn, &[None]);
        assert_eq!(by(Some("fprobe_handler"), &[], true), Some(By::Callback("fprobe_handler")));
        assert_eq!(by(None, &[], false), None);
        assert_eq!(
            by(None, &[event(EventKind::Fprobe, &[]), event(EventKind::Kprobe, &[None])], false),
            None
        );
        assert_eq!(by(None, std::slice::from_ref(&entry), false), Some(By::EntryOf));
        assert_eq!(by(None, &[entry, exit], false), Some(By::Any));
        assert_eq!(by(None, &[], true), Some(By::Any));
    }

    #[test]
    fn a_call_is_found_before_and_behind_its_target_and_not_in_the_next_function() {
        for target in [START - 0x1234, START + 0x5_0000] {
            let mut code = vec![0x55, 0x48];
            code.extend(call(2, target));
            code.push(0xc3);
            assert!(calls(&code, START, target));
            assert!(!calls(&code, START, target + 1));
            assert!(!calls(&code, START + 1, target));
        }
        let mut code = vec![0xc3];
        code.extend([0x90; 16]);
        code.extend(call(17, START + 0x100));
        assert!(!calls(&code, START, START + 0x100));
    }

    #[test]
    fn text_is_found_in_the_segment_that_holds_it() {
        let mut core = vec![0; 64 + 2 * 56];
        core[32] = 64;
        core[54] = 56;
        core[56] = 2;
        for (index, start, offset) in [(0_usize, START - 0x10_0000, 0_u64), (1, START, 176)] {
            let entry = &mut core[64 + 56 * index..];
            entry[0] = 1;
            entry[8..16].copy_from_slice(&offset.to_le_bytes());
            entry[16..24].copy_from_slice(&start.to_le_bytes());
            entry[32..40].copy_from_slice(&0x1000_u64.to_le_bytes());
        }
        core.extend([7; 0x1000]);
        let mut kcore = tempfile::tempfile().unwrap();
        kcore.write_all(&core).unwrap();
        assert_eq!(read_text(&kcore, START + 16).unwrap(), vec![7; CODE_BYTES]);
        assert!(read_text(&kcore, START + 0x2000).is_err());
    }
}
