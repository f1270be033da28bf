//! What the summary counted.

use std::collections::BTreeMap;

use rcu_watch_core::probe::Point;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::summary::Totals;
use rcu_watch_core::units::CpuId;

use super::super::stream::Stream;
use super::{Verdict, ok_or};

pub(super) fn hits(stream: &Stream, point: Point, at_least: u64) -> Verdict {
    let books = stream.summary.books.iter().filter(|book| book.point == point);
    let hits: u64 = books.map(|book| book.hits).sum();
    ok_or(hits >= at_least, || format!("{hits} hits of {}, fewer than {at_least}", point.name()))
}

pub(super) fn balance(stream: &Stream, functions: &[&str], probes: usize, at_least: u64) -> Verdict {
    /// A transition that is open where counting starts, and one where it ends.
    const OPEN: u64 = 2;
    let mut hits = BTreeMap::<CpuId, Vec<u64>>::new();
    for book in stream.summary.books.iter().filter(|book| functions.contains(&book.symbol.as_str())) {
        hits.entry(book.cpu).or_default().push(book.hits);
    }
    let balanced = |hits: &Vec<u64>| {
        let (least, most) = (hits.iter().min().unwrap_or(&0), hits.iter().max().unwrap_or(&0));
        hits.len() == probes && most - least <= OPEN
    };
    let total: u64 = hits.values().filter_map(|hits| hits.iter().min()).sum();
    ok_or(total >= at_least && hits.values().all(balanced), || {
        format!("{probes} probes on {functions:?} are not in balance over {at_least} transitions: {hits:?}")
    })
}

pub(super) fn transitions(stream: &Stream, at_least: u64) -> Verdict {
    let seen = &stream.summary.transitions;
    let enough = seen.as_ref().is_some_and(|seen| {
        let all_balance = !seen.balance.is_empty() && seen.balance.iter().all(|kind| kind.balanced);
        seen.writes >= at_least && all_balance && seen.unknown == 0
    });
    ok_or(enough, || format!("the summary says {seen:?}"))
}

pub(super) fn delivered(stream: &Stream, at_least: u64) -> Verdict {
    let Totals { emitted, delivered, lost, .. } = stream.summary.totals;
    ok_or(emitted == delivered + lost && delivered >= at_least, || {
        format!("{emitted} emitted, {delivered} delivered, {lost} lost")
    })
}

pub(super) fn memory(stream: &Stream, at_most_mib: u64) -> Verdict {
    let bytes = stream.summary.cost.max_resident_bytes;
    ok_or(bytes <= at_most_mib << 20, || format!("{bytes} bytes resident"))
}

pub(super) fn loss(stream: &Stream) -> Verdict {
    let lost = stream.messages.iter().map(|message| match message {
        Message::Lost(lost) => lost.count,
        _ => 0,
    });
    let (said, total) = (lost.sum::<u64>(), stream.summary.totals.lost);
    ok_or(said > 0 && total == said, || format!("`lost` messages say {said}, the summary {total}"))
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::report::Lost;
    use rcu_watch_core::report::summary::{Book, Summary};
    use rcu_watch_core::units::ProbeId;

    use super::super::super::stream::tests::{book, stdout, summary};
    use super::*;

    fn stream(messages: &[Message], summary: Summary) -> Stream {
        Stream::read(stdout(messages, summary).as_bytes()).unwrap()
    }

    #[test]
    fn entries_and_exits_balance_on_each_cpu_or_not_at_all() {
        let hit = |cpu, symbol: &str, hits| Book { cpu: CpuId(cpu), symbol: symbol.into(), hits, ..book() };
        let of = |books: Vec<Book>| stream(&[], Summary { books, ..summary() });
        let pairs =
            [hit(0, "in", 9), hit(0, "out", 10), hit(1, "in", 5), hit(1, "out", 5), hit(1, "else", 1)];
        let even = of(pairs.to_vec());
        assert_eq!(balance(&even, &["in", "out"], 2, 14), Ok(()));
        assert!(balance(&even, &["in", "out"], 2, 15).is_err());
        assert!(balance(&even, &["in", "out"], 3, 1).is_err());
        assert!(balance(&of(vec![hit(0, "in", 9), hit(0, "out", 12)]), &["in", "out"], 2, 1).is_err());
        assert_eq!(hits(&even, Point::Checkpoint, 30), Ok(()));
        assert!(hits(&even, Point::Checkpoint, 31).is_err() && hits(&even, Point::NmiEnter, 1).is_err());
    }

    #[test]
    fn loss_is_said_twice_and_the_same() {
        let lost = |count| Message::Lost(Lost { probe: ProbeId(0), symbol: "f".into(), count });
        let with = |said: &[u64], total| {
            let messages: Vec<Message> = said.iter().map(|&count| lost(count)).collect();
            loss(&stream(
                &messages,
                Summary { totals: Totals { lost: total, ..Totals::default() }, ..summary() },
            ))
        };
        assert_eq!(with(&[1, 2], 3), Ok(()));
        assert!(with(&[1], 3).is_err() && with(&[], 0).is_err());
    }
}
