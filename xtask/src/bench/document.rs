//! docs/performance.md: each benchmark owns the part between its markers and leaves the rest alone.

use std::fs;

use anyhow::{Context as _, Result};

use crate::cache;

const PATH: &str = "docs/performance.md";

/// Puts `text` between the markers of `part`.
pub(super) fn replace(part: &str, text: &str) -> Result<()> {
    let path = cache::workspace().join(PATH);
    let document = fs::read_to_string(&path).with_context(|| format!("cannot read {PATH}"))?;
    let document = with_part(&document, part, text)
        .with_context(|| format!("{PATH} has no markers for {part}; put them back"))?;
    fs::write(&path, document).with_context(|| format!("cannot write {PATH}"))
}

fn with_part(document: &str, part: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {part}: begin -->"), format!("<!-- {part}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_rest_stays() {
        let document = "a\n<!-- bench x: begin -->\nold\n<!-- bench x: end -->\nb\n";
        let new = with_part(document, "bench x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench x: begin -->\nnew\n<!-- bench x: end -->\nb\n");
        assert_eq!(with_part(&new, "bench x", "new").unwrap(), new);
        assert_eq!(with_part(document, "bench y", "new"), None);
    }
}
