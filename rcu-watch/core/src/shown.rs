//! What is shown of a text that somebody else made: a task, a function, a module, a file may be called anything.
//!
//! A name that holds an escape sequence moves the cursor, one that holds a line end makes a line of its own, and a mark
//! that turns the direction of reading lets one name look like another. So whoever prints for people or for readers of
//! lines prints [`shown`] of a text, or a message whose texts are all shown ([`Envelope::shown`]). JSON has its own
//! escapes and keeps the text itself.

use alloc::borrow::Cow;
use alloc::string::String;

use serde_json::Value;

use crate::report::Envelope;

/// Whether a character shows as itself and does nothing to those around it.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let changes_how_others_read = matches!(c,
        // The soft hyphen, and the Arabic letter mark.
        '\u{ad}' | '\u{61c}'
        // Zero width, and marks of direction; separators of lines and paragraphs, embeddings and overrides.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        // Joiners, isolates and deprecated formatting; the byte order mark, annotations, tags.
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !changes_how_others_read
}

/// `text` with everything written out that is not plain: `\n`, `\u{1b}`.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    Cow::Owned(shown)
}

impl Envelope {
    /// The message with each of its texts as [`shown`] gives it, whatever its type has: nothing can be left out.
    ///
    /// # Errors
    /// None but where a message does not come back from its own JSON.
    pub fn shown(&self) -> Result<Cow<'_, Self>, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        // A backslash begins an escape of JSON, which may be one of a control character.
        if json.chars().all(|c| is_plain(c) && c != '\\') {
            return Ok(Cow::Borrowed(self));
        }
        let mut value = serde_json::from_str(&json)?;
        show(&mut value);
        serde_json::from_value(value).map(Cow::Owned)
    }
}

fn show(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = shown(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(show),
        Value::Object(members) => {
            let shown_members = core::mem::take(members).into_iter().map(|(name, mut value)| {
                show(&mut value);
                (shown(&name).into_owned(), value)
            });
            *members = shown_members.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_or_on_a_reader_of_lines_is_written_out() {
        for (text, expected) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("x\nok 1\r\t\0", "x\\nok 1\\r\\t\\u{0}"),
            ("\u{7f}\u{85}\u{9b}", "\\u{7f}\\u{85}\\u{9b}"),
            ("\u{202e}\u{2066}\u{200f}\u{61c}", "\\u{202e}\\u{2066}\\u{200f}\\u{61c}"),
            ("\u{2028}\u{2029}\u{feff}", "\\u{2028}\\u{2029}\\u{feff}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["swapper/0", "größe", "任务", "a\\b \"c\" 'd'", "e\u{301}\u{fffd}"] {
            assert!(matches!(shown(text), Cow::Borrowed(same) if same == text));
        }
    }

    /// Every text in a message, one after the other, replaced by `text`.
    fn each_text(
        value: &mut Value,
        text: &str,
        then: &mut dyn FnMut(&Value),
        root: &dyn Fn(&Value) -> Value,
    ) {
        match value {
            Value::String(_) => {
                let before = core::mem::replace(value, Value::String(text.into()));
                then(&root(value));
                *value = before;
            }
            Value::Array(values) => {
                for at in 0..values.len() {
                    let array = values.clone();
                    each_text(&mut values[at], text, then, &|changed| {
                        let mut array = array.clone();
                        array[at] = changed.clone();
                        root(&Value::Array(array))
                    });
                }
            }
            Value::Object(members) => {
                let all = members.clone();
                for (name, member) in members.iter_mut() {
                    each_text(member, text, then, &|changed| {
                        let mut all = all.clone();
                        all[name] = changed.clone();
                        root(&Value::Object(all))
                    });
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    #[test]
    fn no_text_of_any_message_stays_as_somebody_made_it() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let (mut texts, mut kinds) = (0, std::collections::BTreeSet::new());
        for file in fs::read_dir(golden).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "ndjson") {
                continue;
            }
            for line in fs::read_to_string(&path).unwrap().lines() {
                let mut line: Value = serde_json::from_str(line).unwrap();
                each_text(
                    &mut line,
                    "x\nok 1\u{1b}[2J\u{9b}\u{202e}",
                    &mut |hostile| {
                        // Where a text must be one of a few, there is nothing that somebody could have made.
                        let Ok(envelope) = Envelope::read(&hostile.to_string()) else { return };
                        let Some(envelope) = envelope else { return };
                        let shown = envelope.shown().unwrap();
                        let json = serde_json::to_string(&*shown).unwrap();
                        assert!(json.chars().all(is_plain), "{json}");
                        assert!(json.contains("x\\\\nok 1\\\\u{1b}[2J\\\\u{9b}\\\\u{202e}"), "{json}");
                        assert_eq!(
                            (shown.seq, shown.ts_ns, shown.cpu),
                            (envelope.seq, envelope.ts_ns, envelope.cpu)
                        );
                        texts += 1;
                        kinds.insert(hostile["type"].to_string());
                    },
                    &Value::clone,
                );
            }
        }
        assert!(texts > 50 && kinds.len() > 9, "{texts} texts of {kinds:?}");
    }
}
