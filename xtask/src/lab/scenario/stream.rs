//! A run's NDJSON, read back and held to the contract.
//!
//! Every line is an object; the first is the header, the last the summary; `seq` counts from 0 without a gap; and the
//! books balance, by CPU and probe.

use std::collections::BTreeMap;

use serde_json::Value;

/// The lines of one run.
#[derive(Debug)]
pub struct Stream {
    lines: Vec<Value>,
}

impl Stream {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(line)
                .map_err(|error| format!("line {}: {error}: {}", number + 1, start(line)))?;
            if value["seq"].as_u64() != Some(number as u64) {
                return Err(format!("line {} has seq {} and not {number}", number + 1, value["seq"]));
            }
            lines.push(value);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("its last line is cut short".to_owned());
        }
        let stream = Self { lines };
        for (place, kind, line) in
            [("first", "header", stream.lines.first()), ("last", "summary", stream.lines.last())]
        {
            match line {
                None => return Err("it is empty".to_owned()),
                Some(line) if line["type"] == kind => {}
                Some(line) => return Err(format!("its {place} line is {} and not {kind}", line["type"])),
            }
        }
        Ok(stream)
    }

    /// The data of each line of a type.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind).map(|line| &line["data"])
    }

    pub fn header(&self) -> &Value {
        self.of("header").next().unwrap_or(&Value::Null)
    }

    pub fn summary(&self) -> &Value {
        self.of("summary").next().unwrap_or(&Value::Null)
    }

    /// hits = at_rest + unstable + emitted; emitted = delivered + lost.
    pub fn balance(&self) -> Result<(), String> {
        let books = self.summary()["books"].as_array().ok_or("the summary has no books")?;
        for book in books {
            let number =
                |name: &str| book[name].as_u64().ok_or_else(|| format!("a book has no {name}: {book}"));
            let accounted = number("at_rest")? + number("unstable")? + number("emitted")?;
            if number("hits")? != accounted || number("emitted")? != number("delivered")? + number("lost")? {
                return Err(format!("the books do not balance: {book}"));
            }
        }
        Ok(())
    }

    /// Hits of each probe on these functions, by CPU.
    pub fn hits_on(&self, functions: &[&str]) -> BTreeMap<u64, Vec<u64>> {
        let books = self.summary()["books"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut hits = BTreeMap::<u64, Vec<u64>>::new();
        for book in books {
            if book["symbol"].as_str().is_some_and(|symbol| functions.contains(&symbol)) {
                let (cpu, count) = (book["cpu"].as_u64(), book["hits"].as_u64());
                hits.entry(cpu.unwrap_or(u64::MAX)).or_default().push(count.unwrap_or(0));
            }
        }
        hits
    }

    /// Hits of a point over all CPUs.
    pub fn hits(&self, point: &str) -> u64 {
        let books = self.summary()["books"].as_array().map(Vec::as_slice).unwrap_or_default();
        books.iter().filter(|book| book["point"] == point).filter_map(|book| book["hits"].as_u64()).sum()
    }
}

fn start(line: &str) -> String {
    line.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(book: &str) -> String {
        format!(
            "{{\"type\":\"header\",\"seq\":0,\"ts_ns\":\"1\",\"data\":{{}}}}\n\
             {{\"type\":\"summary\",\"seq\":1,\"ts_ns\":\"2\",\"data\":{{\"books\":[{book}]}}}}\n"
        )
    }

    #[test]
    fn books_that_do_not_balance_are_found() {
        let book = |hits: u64, lost: u64| {
            let text = format!(
                "{{\"point\":\"checkpoint\",\"hits\":{hits},\"at_rest\":5,\"unstable\":1,\"emitted\":4,\
                 \"delivered\":3,\"lost\":{lost}}}"
            );
            Stream::read(stream(&text).as_bytes()).unwrap()
        };
        assert_eq!(book(10, 1).balance(), Ok(()));
        assert_eq!(book(10, 1).hits("checkpoint"), 10);
        assert!(book(11, 1).balance().is_err());
        assert!(book(10, 0).balance().is_err());
    }

    #[test]
    fn a_gap_a_cut_or_a_missing_end_is_found() {
        let whole = stream("");
        assert!(Stream::read(whole.as_bytes()).is_ok());
        assert!(Stream::read(whole.replace("\"seq\":1", "\"seq\":2").as_bytes()).is_err());
        assert!(Stream::read(whole.trim_end().as_bytes()).is_err());
        assert!(Stream::read(whole.lines().next().map(|l| format!("{l}\n")).unwrap().as_bytes()).is_err());
        assert!(Stream::read(b"").is_err());
    }
}
