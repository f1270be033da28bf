//! All that `top` knows: built from the stream and the records, read by the drawing.

use std::collections::{BTreeMap, VecDeque};

use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::report::header::{BlindSpot, HandledSite, PlannedPoint};
use rcu_watch_core::report::{Envelope, FindingReport, GracePeriod, Header, Heartbeat, Message, PlanChange};
use rcu_watch_core::rules::guard::Guard;
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::{RuleId, Severity};

use crate::top::strip::Strip;

/// Things that went wrong, the latest.
const NOTES: usize = 100;

#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub title: String,
    pub cpus: BTreeMap<CpuId, Strip>,
    pub handlers: Vec<HandledSite>,
    pub blind_spots: Vec<BlindSpot>,
    pub findings: Vec<Kind>,
    pub now: Heartbeat,
    /// Per second, over the last status interval.
    pub rates: Rates,
    /// Those that last.
    pub grace_periods: BTreeMap<Flavour, GracePeriod>,
    /// Lost and missed records and failed probes, as they came.
    pub notes: VecDeque<String>,
    /// The run has ended; the picture stays.
    pub ended: Option<String>,
    /// Up to here every record was taken in.
    taken: Nanos,
}

/// A kind of break, and how often it was seen.
#[derive(Clone, Debug)]
pub struct Kind {
    pub id: u32,
    pub rule: RuleId,
    pub severity: Severity,
    pub function: String,
    pub handlers: String,
    pub count: u64,
    pub last: Nanos,
    /// By guard: whether it would have protected a handler.
    pub guards: Vec<(Guard, bool)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub switches: f64,
    pub handler_calls: f64,
    pub idle_entries: f64,
    pub nmis: f64,
    pub findings: f64,
}

impl Picture {
    pub fn message(&mut self, envelope: &Envelope) {
        match &envelope.message {
            Message::Header(header) => self.header(header),
            Message::Finding(finding) => self.finding(envelope.ts_ns, envelope.cpu, finding),
            Message::Repeat(repeat) => {
                if let Some(kind) = self.findings.iter_mut().find(|kind| kind.id == repeat.id) {
                    kind.count += repeat.count;
                    kind.last = repeat.last_ts_ns;
                }
            }
            Message::PlanChange(PlanChange {
                point: PlannedPoint { site: Some(function), .. },
                handlers,
                ..
            }) => {
                self.handlers.retain(|site| site.function != *function);
                if !handlers.is_empty() {
                    let (function, handlers) = (function.clone(), handlers.clone());
                    self.handlers.push(HandledSite { function, address: None, handlers });
                }
            }
            Message::Lost(lost) => self.note(format!("lost {} records of {}", lost.count, lost.symbol)),
            Message::Missed(missed) => {
                self.note(format!("missed {} runs of {}", missed.count, missed.symbol));
            }
            Message::GracePeriod(period) if period.over => {
                self.grace_periods.remove(&period.flavour);
            }
            Message::GracePeriod(period) => {
                self.grace_periods.insert(period.flavour, GracePeriod::clone(period));
            }
            Message::ProbeError(error) => self.note(format!("{}: {}", error.symbol, error.error)),
            Message::Summary(summary) => self.ended = Some(summary.ended_by.name().to_owned()),
            _ => {}
        }
    }

    fn header(&mut self, header: &Header) {
        let layout = header.layout.as_ref().map_or("unknown", |layout| layout.generation.as_str());
        let replayed = if header.command == "replay" { ", replayed" } else { "" };
        let Header { tool, version, kernel, .. } = header;
        self.title = format!("{tool} {version} on {}, layout {layout}{replayed}", kernel.release);
        self.cpus = header.cpus.iter().map(|&cpu| (cpu, Strip::default())).collect();
        self.handlers.clone_from(&header.handlers);
        self.blind_spots.clone_from(&header.blind_spots);
    }

    fn finding(&mut self, ts: Nanos, cpu: Option<CpuId>, finding: &FindingReport) {
        if let Some(cpu) = cpu {
            self.cpus.entry(cpu).or_default().break_seen(ts);
        }
        let handlers: Vec<_> = finding.handlers.iter().map(|handler| handler.name.as_str()).collect();
        self.findings.push(Kind {
            id: finding.id,
            rule: finding.rule,
            severity: finding.severity,
            function: finding.function.clone(),
            handlers: handlers.join(", "),
            count: 1,
            last: ts,
            guards: finding.guards.iter().map(|guard| (guard.guard, guard.protects)).collect(),
        });
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push_back(note);
        if self.notes.len() > NOTES {
            self.notes.pop_front();
        }
    }

    /// One more of a kind that is known.
    pub fn again(&mut self, rule: RuleId, seen: &Seen<'_>) {
        let is_it = |kind: &&mut Kind| kind.rule == rule && kind.function == seen.symbol;
        if let Some(kind) = self.findings.iter_mut().find(is_it) {
            kind.count += 1;
            kind.last = seen.ts;
        }
    }

    pub fn observe(&mut self, seen: &Seen<'_>) {
        self.taken = self.taken.max(seen.ts);
        self.cpus.entry(seen.cpu).or_default().observe(seen);
    }

    /// Takes in how the run goes right now. Every record up to the time `taken` has been observed.
    pub fn status(&mut self, taken: Nanos, now: &Heartbeat) {
        let passed = now.elapsed_ns.0.saturating_sub(self.now.elapsed_ns.0);
        if passed > 0 {
            let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 * 1e9 / passed as f64;
            self.rates = Rates {
                switches: rate(now.checkpoints, self.now.checkpoints),
                handler_calls: rate(now.handler_calls, self.now.handler_calls),
                idle_entries: rate(now.idle_entries, self.now.idle_entries),
                nmis: rate(now.nmis, self.now.nmis),
                findings: rate(now.findings, self.now.findings),
            };
        }
        self.now = now.clone();
        self.taken = self.taken.max(taken);
    }

    /// Lets time go on where no record came, so that all strips end at the same moment. Of a copy that is drawn:
    /// in the picture itself each strip waits for its own next record.
    pub fn settle(&mut self) {
        for strip in self.cpus.values_mut() {
            strip.advance(self.taken);
        }
    }

    /// For each guard of the thread of 2017: hits that it would have protected, and all that it was asked of.
    #[must_use]
    pub fn guards(&self) -> Vec<(Guard, u64, u64)> {
        let mut totals: Vec<(Guard, u64, u64)> = Vec::new();
        for kind in &self.findings {
            for &(guard, protects) in &kind.guards {
                let index = totals.iter().position(|total| total.0 == guard).unwrap_or_else(|| {
                    totals.push((guard, 0, 0));
                    totals.len() - 1
                });
                totals[index].1 += if protects { kind.count } else { 0 };
                totals[index].2 += kind.count;
            }
        }
        totals
    }

    /// Findings, the worst first: by severity, then by count.
    #[must_use]
    pub fn worst(&self) -> Vec<&Kind> {
        let mut kinds: Vec<_> = self.findings.iter().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse((kind.severity, kind.count)));
        kinds
    }
}
