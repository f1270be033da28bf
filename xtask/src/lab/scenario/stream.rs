//! A run's NDJSON, read back by the types that wrote it and held to the contract.
//!
//! Every line is an envelope; the first is the header, the last the summary; `seq` counts from 0 without a gap; and the
//! books balance, by CPU and probe.

use rcu_watch_core::report::summary::Book;
use rcu_watch_core::report::{Envelope, Header, Message, Summary};

/// What one run said.
#[derive(Debug)]
pub(crate) struct Stream {
    pub header: Box<Header>,
    /// All that was said between the header and the summary.
    pub messages: Vec<Message>,
    pub summary: Box<Summary>,
}

impl Stream {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut messages = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: String| format!("line {}: {why}: {}", number + 1, start(line));
            let envelope = Envelope::read(line).map_err(|error| wrong(error.to_string()))?;
            let Envelope { seq, message, .. } =
                envelope.ok_or_else(|| wrong("nobody knows its type".to_owned()))?;
            if seq != number as u64 {
                return Err(format!("line {} has seq {seq} and not {number}", number + 1));
            }
            messages.push(message);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("its last line is cut short".to_owned());
        }
        let summary = match messages.pop() {
            Some(Message::Summary(summary)) => summary,
            Some(_) => return Err(format!("its last line is no summary: {}", last(text))),
            None => return Err("it is empty".to_owned()),
        };
        if !matches!(messages.first(), Some(Message::Header(_))) {
            return Err(format!("its first line is no header: {}", start(text)));
        }
        let Message::Header(header) = messages.remove(0) else { unreachable!("it was just looked at") };
        Ok(Self { header, messages, summary })
    }

    /// hits = at_rest + unstable + emitted; emitted = delivered + lost.
    pub(crate) fn balance(&self) -> Result<(), String> {
        let balances = |book: &&Book| {
            book.hits == book.at_rest + book.unstable + book.emitted
                && book.emitted == book.delivered + book.lost
        };
        match self.summary.books.iter().find(|book| !balances(book)) {
            None => Ok(()),
            Some(book) => Err(format!("the books do not balance: {book:?}")),
        }
    }
}

fn last(text: &str) -> String {
    start(text.lines().last().unwrap_or_default())
}

fn start(line: &str) -> String {
    line.chars().take(120).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use rcu_watch_core::probe::Point;
    use rcu_watch_core::report::summary::{EndedBy, RunVerdict};
    use rcu_watch_core::units::{CpuId, Nanos, ProbeId};
    use serde_json::json;

    use super::*;

    pub(crate) fn summary() -> Summary {
        Summary::new(RunVerdict::Clean, 0, EndedBy::Duration)
    }

    /// One that balances.
    pub(crate) fn book() -> Book {
        let (probe, point, symbol, cpu) = (ProbeId(0), Point::Checkpoint, "f".to_owned(), CpuId(0));
        Book {
            probe,
            point,
            symbol,
            cpu,
            hits: 10,
            at_rest: 5,
            unstable: 1,
            emitted: 4,
            delivered: 3,
            lost: 1,
        }
    }

    /// A whole stream, as a run would print it.
    pub(crate) fn stdout(messages: &[Message], summary: Summary) -> String {
        let header = json!({
            "schema": 1, "tool": "rcu-watch", "version": "0", "command": "watch", "host": "h", "boot_id": "b",
            "kernel": { "release": "6.1", "machine": "x86_64" },
            "clock": { "name": "CLOCK_MONOTONIC", "realtime_offset_ns": "0" },
            "cpus": [0], "plan": [], "handlers": [], "other_instances": [], "blind_spots": [],
        });
        let header = Message::Header(serde_json::from_value(header).unwrap());
        let all = [&[header], messages, &[Message::Summary(Box::new(summary))]].concat();
        let lines = (0..).zip(all).map(|(seq, message)| {
            let envelope = Envelope { seq, ts_ns: Nanos(1), cpu: None, message };
            format!("{}\n", serde_json::to_string(&envelope).unwrap())
        });
        lines.collect()
    }

    #[test]
    fn books_that_do_not_balance_are_found() {
        let with = |book: Book| {
            let summary = Summary { books: vec![book], ..summary() };
            Stream::read(stdout(&[], summary).as_bytes()).unwrap().balance()
        };
        assert_eq!(with(book()), Ok(()));
        assert!(with(Book { hits: 11, ..book() }).is_err());
        assert!(with(Book { lost: 0, ..book() }).is_err());
    }

    #[test]
    fn a_gap_a_cut_or_a_missing_end_is_found() {
        let whole = stdout(&[], summary());
        assert!(Stream::read(whole.as_bytes()).is_ok());
        let (header, end) = whole.split_once('\n').unwrap();
        for (broken, why) in [
            (whole.replace("\"seq\":1", "\"seq\":2"), "seq 2"),
            (whole.trim_end().to_owned(), "cut short"),
            (format!("{header}\n"), "no summary"),
            (end.replace("\"seq\":1", "\"seq\":0"), "no header"),
            (String::new(), "empty"),
            (whole.replace("\"type\":\"summary\"", "\"type\":\"goodbye\""), "nobody knows its type"),
            (whole.replace("\"reasons\":[]", "\"reasons\":{}"), "line 2"),
        ] {
            let error = Stream::read(broken.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
