//! What a whole line was put into: JSON, YAML, HTML, colours, escapes. All of it comes off before the line is read.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::string::String;

use super::{Layer, Layers};

/// Keys under which the carriers of logs keep the line: LAVA and pino, journald, docker, structured loggers, Google Cloud.
const KEYS: &[&str] = &["msg", "MESSAGE", "message", "log", "line", "textPayload"];

/// The elements in which web pages show logs.
const ELEMENTS: &[&str] =
    &["a", "b", "br", "code", "div", "font", "i", "li", "p", "pre", "span", "td", "tr", "tt"];

/// The line without what it was put into; one line may hold several, parted by `\n`.
pub(super) fn unwrap<'log>(raw: &'log str, layers: &mut Layers) -> Cow<'log, str> {
    // One look at each byte spares most lines all that follows.
    let is_plain = |byte: u8| !matches!(byte, b'\x1b' | b'^' | b'#' | b'{' | b'&' | b'<' | b'=' | b'\\');
    if raw.bytes().all(is_plain) {
        return Cow::Borrowed(raw);
    }
    let mut text = Cow::Borrowed(raw);
    if text.contains('\u{1b}') || text.contains("^[[") || text.contains("#033[") {
        layers.add(Layer::Colours);
        text = Cow::Owned(without_colours(&text));
    }
    if let Some(inside) = carried(&text) {
        layers.add(Layer::Json);
        text = Cow::Owned(inside);
        if text.contains('\u{1b}') {
            text = Cow::Owned(without_colours(&text));
        }
    }
    if text.contains('&') || text.contains("</") || text.contains("<br") || text.contains("<span") {
        let plain = without_markup(&text);
        if plain != *text {
            layers.add(Layer::Html);
            text = Cow::Owned(plain);
        }
    }
    // The kernel prints hex in lower case.
    if text.contains("=3D") {
        layers.add(Layer::QuotedPrintable);
        text = Cow::Owned(text.replace("=3D", "="));
    }
    if text.contains("\\x") {
        layers.add(Layer::Escapes);
        text = Cow::Owned(unescape(&text));
    }
    if text.contains("#011") || text.contains("#015") || text.contains("^I") {
        layers.add(Layer::Escapes);
        text = Cow::Owned(text.replace("#011", "\t").replace("#015", "").replace("^I", "\t"));
    }
    text
}

/// What a record of /dev/kmsg or netconsole says: `\x09` for a byte that is not printable.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let byte = rest.get(at + 2..at + 4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push_str(&rest[..at]);
        if let Some(byte) = byte.filter(u8::is_ascii) {
            plain.push(char::from(byte));
        }
        // Half of a character of several bytes says nothing here.
        rest = &rest[if byte.is_some() { at + 4 } else { at + 2 }..];
    }
    plain.push_str(rest);
    plain
}

/// Without `ESC [ 32 m`, also as `cat -v` and rsyslog write it.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, mark)) = ["\u{1b}", "^[[", "#033["]
        .iter()
        .filter_map(|mark| rest.find(mark).map(|at| (at, *mark)))
        .min_by_key(|(at, _)| *at)
    {
        plain.push_str(&rest[..at]);
        rest = rest[at + mark.len()..].trim_start_matches('[');
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == '?')).unwrap_or(rest.len());
        // The letter that ends the sequence goes with it.
        let letter = rest[end..].chars().next().filter(char::is_ascii_alphabetic).map_or(0, char::len_utf8);
        rest = &rest[end + letter..];
    }
    plain.push_str(rest);
    plain
}

/// The string under one of [`KEYS`], where the line is an object of JSON or a flow mapping of YAML.
fn carried(text: &str) -> Option<String> {
    let open = text.find('{')?;
    if !text[..open].trim().trim_start_matches('-').trim().is_empty() {
        return None;
    }
    let body = &text[open..];
    KEYS.iter().find_map(|key| {
        body.match_indices(key).find_map(|(at, _)| {
            let before = body[..at].chars().next_back()?;
            let rest = body[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
            let value = rest.strip_prefix(':')?.trim_start();
            matches!(before, '"' | '\'' | ' ' | '{' | ',').then(|| string(value)).flatten()
        })
    })
}

/// A string of JSON or YAML, or the array of bytes that journald writes for one that is not text.
fn string(value: &str) -> Option<String> {
    if let Some(bytes) = value.strip_prefix('[') {
        let bytes = bytes.split(']').next()?.split(',');
        return bytes.map(|byte| byte.trim().parse::<u8>().ok().map(char::from)).collect();
    }
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut plain = String::with_capacity(value.len());
    let mut chars = value[1..].chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => break,
            '\\' if quote == '"' => match chars.next()? {
                'n' => plain.push('\n'),
                't' => plain.push('\t'),
                'r' => {}
                'e' => plain.push('\u{1b}'),
                mark @ ('u' | 'x') => {
                    let length = if mark == 'u' { 4 } else { 2 };
                    let digits: String = chars.by_ref().take(length).collect();
                    plain.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
                }
                other => plain.push(other),
            },
            c => plain.push(c),
        }
    }
    Some(plain)
}

fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        plain.push_str(before);
        let name = tag[1..].trim_start_matches('/');
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        match tag.find('>') {
            Some(close) if ELEMENTS.contains(&&name[..end]) => rest = &tag[close + 1..],
            _ => {
                plain.push('<');
                rest = &tag[1..];
            }
        }
    }
    plain.push_str(rest);
    if !plain.contains('&') {
        return plain;
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    entities
        .iter()
        .fold(plain, |text, (entity, c)| if text.contains(entity) { text.replace(entity, c) } else { text })
}

/// A line that quoted-printable broke in two: the part before the `=` at its end.
pub(super) fn soft_broken(raw: &str) -> Option<String> {
    let line = raw.trim_end_matches(['\r', '\n']);
    let part = line.strip_suffix('=')?;
    // Lockdep's `=====` is as long as its headline; a line is broken at 76 columns.
    (!part.ends_with('=') && part.len() >= 60 && part.len() <= 80).then(|| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &str) -> String {
        unwrap(raw, &mut Layers::default()).into_owned()
    }

    #[test]
    fn what_a_line_was_put_into_comes_off() {
        for raw in [
            "\u{1b}[32m[    7.1] \u{1b}[0m\u{1b}[33mf+0x1/0x2\u{1b}[0m",
            "^[[32m[    7.1] ^[[0mf+0x1/0x2",
            "#033[32m[    7.1] #033[0mf+0x1/0x2",
            r#"- {"dt": "2022-11-22T10:04:07.216403", "lvl": "target", "msg": "[    7.1] f+0x1/0x2"}"#,
            "- {dt: '2022-11-22T10:04:07', lvl: target, msg: '[    7.1] f+0x1/0x2'}",
            r#"{"_TRANSPORT":"kernel","MESSAGE":"[    7.1] f+0x1/0x2","PRIORITY":"4"}"#,
            r#"{"log":"\u001b[0m[    7.1] f+0x1/0x2\r","stream":"stdout"}"#,
            "<span class=\"t\">[    7.1]</span> f+0x1/0x2<br>",
        ] {
            assert_eq!(plain(raw).trim(), "[    7.1] f+0x1/0x2", "{raw}");
        }
        assert_eq!(plain(r#"{"MESSAGE":[82,67,85]}"#), "RCU");
        assert_eq!(plain("&lt;4&gt;[ 7.1] a &amp;&amp; b"), "<4>[ 7.1] a && b");
    }

    #[test]
    fn what_the_kernel_itself_prints_in_brackets_and_braces_stays() {
        for raw in [
            " <TASK>",
            "INFO: rcu_sched detected stalls on CPUs/tasks: { 1} (t=1)",
            "a & b",
            "#0: x (&p){+.+.}",
        ] {
            assert_eq!(plain(raw), raw);
        }
    }

    #[test]
    fn a_line_that_was_broken_is_one_and_a_rule_of_lockdep_is_none() {
        let long = "[  613.446247] WARNING: CPU: 0 PID: 0 at kernel/rcu/tree.c:652 rcu_eqs_=\r\n";
        assert!(soft_broken(long).is_some_and(|part| part.ends_with("rcu_eqs_")));
        assert_eq!(soft_broken("[   42.628511] ============================="), None);
    }
}
