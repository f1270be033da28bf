//! The tables of a summary that a pipeline and its books can fill in.

use alloc::vec::Vec;

use crate::finding::RuleId;
use crate::pipeline::Pipeline;
use crate::report::Repeat;
use crate::report::summary::{Book, FindingTotal, GuardTotal, Totals};

/// Every kind of finding that is told, with its exact count. `first_id` is added to the ids: a stream of several
/// pipelines numbers through.
#[must_use]
pub fn findings(pipeline: &Pipeline, first_id: u32, tells: impl Fn(RuleId) -> bool) -> Vec<FindingTotal> {
    let told = pipeline.totals().iter().filter(|total| tells(total.rule));
    told.map(|total| FindingTotal {
        id: first_id + total.id,
        rule: total.rule,
        severity: total.severity,
        function: total.function.clone(),
        handlers: total.handlers.clone(),
        count: total.count,
        fingerprint: total.fingerprint.clone(),
        synthetic: total.synthetic,
        known: false,
    })
    .collect()
}

/// How often findings that are told came again, since this was last asked.
pub fn repeats(pipeline: &mut Pipeline, tells: impl Fn(RuleId) -> bool) -> Vec<Repeat> {
    let mut repeats = pipeline.take_repeats();
    repeats.retain(|repeats| tells(repeats.rule));
    repeats.into_iter().map(Repeat::new).collect()
}

/// How often each guard would have protected a handler.
#[must_use]
pub fn guards(pipeline: &Pipeline) -> Vec<GuardTotal> {
    let counts = pipeline.guard_counts().iter();
    counts
        .map(|count| GuardTotal { guard: count.guard, protects: count.protects, fails: count.fails })
        .collect()
}

/// What all books come to, with what no book counts: runs that the kernel skipped, and bytes that were no record.
#[must_use]
pub fn totals(books: &[Book], missed: u64, undecodable: u64) -> Totals {
    let sum = |count: fn(&Book) -> u64| books.iter().map(count).fold(0, u64::saturating_add);
    Totals {
        hits: sum(|book| book.hits),
        at_rest: sum(|book| book.at_rest),
        unstable: sum(|book| book.unstable),
        emitted: sum(|book| book.emitted),
        delivered: sum(|book| book.delivered),
        lost: sum(|book| book.lost),
        missed,
        undecodable,
    }
}
