//! A line of a call trace, in the shapes of the architectures and of symbolised reports.

use alloc::vec;
use alloc::vec::Vec;

/// What one line says of the stack, innermost first; `? ` lines (a guess of the unwinder) say nothing.
pub(super) fn frames(text: &str) -> Vec<&str> {
    let text = without_addresses(text.trim_start_matches('('));
    if text.starts_with("? ") {
        return Vec::new();
    }
    // arm: `callee from caller+0x10/0x14`, each maybe in parentheses and after its address.
    if let Some((callee, caller)) = text.split_once(" from ") {
        let callee = bare(callee);
        return match symbol(bare(without_addresses(caller))) {
            Some(caller) if is_name(base(callee)) => vec![callee, caller],
            _ => Vec::new(),
        };
    }
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    if rest.ends_with("[inline]") && is_name(first) {
        return vec![first];
    }
    symbol(first.trim_end_matches(')')).into_iter().collect()
}

/// The function of a `function.constprop.0+0x10/0x20`.
pub(super) fn base(symbol: &str) -> &str {
    let end = symbol.find(['+', '.', '/']).unwrap_or(symbol.len());
    &symbol[..end]
}

/// `name+0x10/0x20`, perhaps with a suffix that the compiler gave it.
pub(super) fn symbol(word: &str) -> Option<&str> {
    let (name, at) = word.split_once('+')?;
    let hex = |part: &str| {
        part.strip_prefix("0x")
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let (offset, size) = at.split_once('/')?;
    (is_name(base(name)) && hex(offset) && hex(size)).then_some(word)
}

fn is_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

fn bare(word: &str) -> &str {
    word.trim().trim_start_matches('(').trim_end_matches(')')
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
            "([<00000000002b55bc>] f+0x24c/0x258)",
            "[c000000004653920] [c00000000097f9b4] f+0x98/0xe0 (unreliable)",
            "[<c03125b4>] (f) from [<c030c32c>] (show_stack+0x10/0x14)",
            "f from show_stack+0x10/0x14",
        ] {
            assert_eq!(one(text), Some("f"), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_frame_is_none() {
        for text in [
            "? f+0x1e/0x230",
            "RIP: 0010:f+0x34/0x40",
            "pc : f+0x34/0x40",
            "#0: ffff (&p->lock){-.-.}, at: f+0x52/0x7a0",
            "hardirqs last disabled at (0): [<ffffffc0080798b0>] f+0x608/0x13dc",
            "<TASK>",
            "a message from the+kernel",
            "",
        ] {
            assert_eq!(frames(text), Vec::<&str>::new(), "{text}");
        }
    }
}
