//! A line of a call trace, in the shapes of the architectures, of symbolised reports and of those without offsets.

use alloc::vec;
use alloc::vec::Vec;

/// What one line says of the stack, innermost first; `? ` lines (a guess of the unwinder) say nothing.
pub(super) fn frames(text: &str) -> Vec<&str> {
    let text = bare_line(text);
    // arm: `callee from caller+0x10/0x14`, each maybe in parentheses and after its address.
    if let Some((callee, caller)) = text.split_once(" from ") {
        let callee = bare(callee);
        return match symbol(bare(without_addresses(caller))) {
            Some(caller) if is_name(base(callee)) => vec![callee, caller],
            _ => Vec::new(),
        };
    }
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let first = bare(first);
    let is_decoded = (rest.ends_with("[inline]") || is_place(rest)) && is_name(base(first));
    if is_decoded { vec![first] } else { symbol(first).into_iter().collect() }
}

/// A line of a trace that names its function and nothing else; to be asked inside a trace only.
pub(super) fn bare_frame(text: &str) -> Option<&str> {
    let text = bare_line(text);
    let is_address = text.starts_with("0x");
    (!text.is_empty() && !is_address && !text.contains(' ') && is_name(base(text))).then_some(text)
}

/// Whether a line belongs to a trace without naming a function that was surely called: guesses, marks, raw addresses.
pub(super) fn is_of_trace(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("? ")
        || text.starts_with("0x")
        || text.starts_with("(inlined by)")
        || ["<TASK>", "</TASK>", "<IRQ>", "</IRQ>", "<EOI>", "<NMI>", "</NMI>", "<SOFTIRQ>", "</SOFTIRQ>"]
            .iter()
            .any(|mark| text.starts_with(mark))
        || without_addresses(text).starts_with("? ")
}

/// The function in which a register dump was taken: `RIP: 0010:f+0x1/0x2`, `pc : f+0x1/0x2`, `NIP [c..] f+0x1/0x2`.
pub(super) fn program_counter(text: &str) -> Option<&str> {
    const MARKS: &[&str] = &[
        "RIP: ",
        "EIP: ",
        "pc : ",
        "PC is at ",
        "NIP ",
        "epc : ",
        "epc   : ",
        "era",
        "ERA",
        "Krnl PSW : ",
        "TPC: ",
        "pc: ",
    ];
    let rest = MARKS.iter().find_map(|mark| text.strip_prefix(mark))?;
    let rest = rest.trim_start_matches([' ', ':', '<']);
    let rest = match rest.split_once(':') {
        Some((segment, rest)) if segment.bytes().all(|c| c.is_ascii_hexdigit()) => rest,
        _ => rest,
    };
    let rest = without_addresses(rest);
    let words = || rest.split_whitespace().take(5).map(bare);
    words().find_map(symbol).or_else(|| {
        let (first, rest) = rest.split_once(' ')?;
        (is_place(rest) && is_name(base(first))).then_some(first)
    })
}

/// The function of a `function.constprop.0+0x10/0x20`.
pub(super) fn base(symbol: &str) -> &str {
    let end = symbol.find(['+', '.', '/']).unwrap_or(symbol.len());
    &symbol[..end]
}

/// `name+0x10/0x20`, perhaps with a suffix that the compiler gave it, and with what a carrier left behind it.
pub(super) fn symbol(word: &str) -> Option<&str> {
    let word = word.trim_end_matches(['"', '\'', '}', ',', '\\', ';', '`', ')', '(', '>']);
    let (name, at) = word.split_once('+')?;
    let hex = |part: &str| {
        part.strip_prefix("0x")
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let (offset, size) = at.split_once('/')?;
    (is_name(base(name)) && hex(offset) && hex(size)).then_some(word)
}

/// ` (kernel/sched/idle.c:117 (discriminator 1))` or ` kernel/sched/idle.c:117`: where addr2line found it.
pub(super) fn is_place(rest: &str) -> bool {
    let inside = rest.trim_start().trim_start_matches('(');
    let word = inside.split([' ', ')']).next().unwrap_or("");
    word.rsplit_once(':').is_some_and(|(file, line)| {
        let ends = [".c", ".h", ".S", ".rs"].iter().any(|end| file.ends_with(end));
        ends && (line == "?" || !line.is_empty() && line.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

pub(super) fn is_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'$')
}

fn bare(word: &str) -> &str {
    word.trim().trim_start_matches('(').trim_end_matches(')')
}

/// Without marks of another stack and addresses.
fn bare_line(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some((mark, rest)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        let is_mark = !mark.is_empty()
            && mark.bytes().all(|c| c.is_ascii_uppercase() || matches!(c, b'#' | b'<' | b'/'));
        if !is_mark {
            break;
        }
        text = rest.trim_start_matches('>').trim_start();
    }
    without_addresses(text.trim_start_matches('('))
}

/// Without the `[<ffffffff8105533b>]` of old kernels, s390 and arm, and the `[sp] [ip]` of powerpc.
fn without_addresses(mut text: &str) -> &str {
    while let Some((inside, rest)) = text.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'))
    {
        let address = inside.trim_start_matches('<').trim_end_matches('>');
        if address.len() < 8 || !address.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            break;
        }
        text = rest;
    }
    text.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architectures_frame_gives_its_function() {
        let one = |text| frames(text).first().map(|frame| base(frame));
        for text in [
            "f+0x1e/0x230",
            "f.constprop.0+0x98/0xa0 (P)",
            "f+0x608/0x13dc [klp]",
            "f+0x34/0x40 kernel/context_tracking.c:335",
            "f include/trace/events/lock.h:24 [inline]",
            "[<ffffffff8105533b>] f+0xbc/0xc5",
            "<IRQ>  [<ffffffff8105533b>] f+0xbc/0xc5",
            "[<ffffffc00008bc58>] (f+0x0/0x148)",
            "([<00000000002b55bc>] f+0x24c/0x258)",
            "[c000000004653920] [c00000000097f9b4] f+0x98/0xe0 (unreliable)",
            "[<c03125b4>] (f) from [<c030c32c>] (show_stack+0x10/0x14)",
            "[<c03125b4>] (f+0x1/0x2) from [<c030c32c>] (show_stack+0x10/0x14)",
            "f from show_stack+0x10/0x14",
            "f (kernel/sched/idle.c:117)",
            "f.part.0 (kernel/sched/idle.c:117 (discriminator 3)) ",
            "f (kernel/sched/idle.c:?) klp",
            "f+0xd7/0x1c0\"}",
        ] {
            assert_eq!(one(text), Some("f"), "{text}");
        }
        assert_eq!(bare_frame(" do_idle"), Some("do_idle"));
    }

    #[test]
    fn what_only_looks_like_a_frame_is_none() {
        for text in [
            "? f+0x1e/0x230",
            "? f (kernel/sched/idle.c:117)",
            "RIP: 0010:f+0x34/0x40",
            "pc : f+0x34/0x40",
            "#0: ffff (&p->lock){-.-.}, at: f+0x52/0x7a0",
            "at: f+0x52/0x7a0",
            "hardirqs last disabled at (0): [<ffffffc0080798b0>] f+0x608/0x13dc",
            "<TASK>",
            "a message from the+kernel",
            "lookup_chain_cache at kernel/locking/lockdep.c:3497",
            "",
        ] {
            assert_eq!(frames(text), Vec::<&str>::new(), "{text}");
        }
        assert_eq!(
            [bare_frame("Call Trace:"), bare_frame("0xffffffffc04710f7"), bare_frame("a b")],
            [None; 3]
        );
    }

    #[test]
    fn a_register_dump_names_its_function() {
        for text in [
            "RIP: 0010:f+0x34/0x40",
            "RIP: 0010:[<ffffffff8105533b>]  [<ffffffff8105533b>] f+0x34/0x40",
            "RIP: 0010:f (kernel/module/main.c:3100 kernel/module/main.c:3081) ",
            "EIP: f+0x34/0x40",
            "pc : f+0x34/0x40",
            "PC is at f+0x34/0x40",
            "NIP [c00000000097f9b4] f+0x34/0x40",
            "epc : f+0x34/0x40",
            "epc   : 80104c6c f+0x34/0x40",
            "Krnl PSW : 0404d00180000000 00000000002b55c0 (f+0x34/0x40)",
        ] {
            assert_eq!(program_counter(text).map(base), Some("f"), "{text}");
        }
        assert_eq!(program_counter("RIP: 0033:0x7f2b8c0d4a3d"), None);
    }
}
