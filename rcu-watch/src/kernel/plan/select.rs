//! Chooses what to attach: a pure function over what the kernel is and what was asked for.
//!
//! First, do no harm: nothing of ours goes into an EQS unless somebody else's handler is already there or
//! `--exposed` asks for it, and nothing goes where it would keep a livepatch from being loaded or a module
//! from being unloaded. Sites of handlers that rely on RCU are served first; programs are finite.

use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::report::header::{BlindSpot, PassedOver};
use rcu_watch_core::rules::Rule;

use crate::kernel::facts::Facts;
use crate::kernel::facts::layout::Layout;
use crate::kernel::plan::attach_plan::{AttachPlan, PlannedRequirement, PointChoice};
use crate::kernel::plan::candidate::Function;
use crate::kernel::plan::planner::Planner;
use crate::kernel::plan::points::{self, On, PointCandidates};
use crate::kernel::plan::request::{Request, Requirement};
use crate::kernel::plan::{entry, legacy, watchpoint};
use crate::kernel::read::support::{Reason, Support};

/// Sites that are watched although none of their handlers relies on RCU.
const QUIET_SITES_MAX: usize = 16;

/// Functions that a probe is on by fentry, or by a kprobe on their ftrace site.
const CARRIED_BY_FTRACE: &str = "whatever ftrace carries";

const EXPOSED_WHY: &str = "it runs with RCU off, where a probe is itself the hazard";
const EXPOSED_REMEDY: &str = "--exposed puts one there";

/// Makes the plan.
#[must_use]
pub fn select(facts: &Facts, request: &Request) -> AttachPlan {
    let mut planner = Planner::new(facts, request);
    planner.plan.refusals = refusals(facts, request);
    planner.plan.transport = facts.features.transport(request.transport).unwrap_or_default();
    planner.cpus();
    for row in points::ROWS {
        planner.row(row);
    }
    watchpoint::plan(&mut planner);
    legacy::plan(&mut planner);
    entry::plan(&mut planner);
    planner.sites();
    planner.idle_victims();
    planner.requirements();
    planner.blind_spots();
    planner.plan
}

/// Why nothing can be watched on this kernel; empty where something can.
fn refusals(facts: &Facts, request: &Request) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut add = |reason: Reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    let transport = match facts.features.transport(request.transport) {
        Ok(_) => Support::Yes,
        Err(reason) => Support::No(reason),
    };
    for support in [&facts.features.bpf, &transport, &facts.features.raw_tracepoint] {
        if let Some(reason) = support.reason() {
            add(reason.clone());
        }
    }
    if let (Support::No(fentry), Support::No(kprobe)) = (&facts.features.fentry, &facts.features.kprobe) {
        add(Reason {
            why: format!("no function can be watched: by fentry, {}", fentry.why),
            remedy: fentry.remedy.clone(),
        });
        add(Reason {
            why: format!("no function can be watched: by kprobe, {}", kprobe.why),
            remedy: kprobe.remedy.clone(),
        });
    }
    if let Some(reason) = watchpoint::refusal(facts, request) {
        add(reason);
    }
    match facts.layout.as_ref().map(Layout::for_programs) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => add(Reason::new(error.to_string())),
        Err(error) => add(Reason::new(error.to_string())),
    }
    reasons
}

impl Planner<'_> {
    fn cpus(&mut self) {
        let (facts, request) = (self.facts, self.request);
        if request.cpus.is_empty() {
            self.plan.cpus.clone_from(&facts.online);
            return;
        }
        for &cpu in &request.cpus {
            if facts.online.contains(&cpu) {
                self.plan.cpus.push(cpu);
            } else {
                let reason = "it is not online".to_owned();
                self.plan.blind_spots.push(BlindSpot { what: format!("cpu {cpu}"), reason, remedy: None });
            }
        }
    }

    fn row(&mut self, row: &PointCandidates) {
        let mut passed_over = Vec::new();
        let mut chosen = None;
        for on in row.candidates {
            chosen = match *on {
                On::Tracepoint(name) => self.try_tracepoint(name, &mut passed_over),
                On::Function(name) if points::runs_in_eqs(name) && !self.request.exposed => {
                    passed_over.push(PassedOver {
                        mechanism: Mechanism::KprobeFtrace,
                        symbol: name.to_owned(),
                        reason:
                            "it runs with RCU off, where a probe is itself the hazard; --exposed allows it"
                                .to_owned(),
                    });
                    None
                }
                On::Function(name) => self.try_function(Function { name, site: None }, &mut passed_over),
            };
            if chosen.is_some() {
                break;
            }
        }
        let chosen = chosen.map(|chosen| self.add(row.point, chosen, None));
        let required = matches!(row.point, Point::Checkpoint | Point::EqsEnter | Point::EqsExit);
        self.plan.rows.push(PointChoice { point: row.point, site: None, required, chosen, passed_over });
    }

    /// Functions that somebody else's handlers are on.
    fn sites(&mut self) {
        let facts = self.facts;
        let mut sites: Vec<_> = facts.handled.sites.iter().filter(|site| !site.handlers.is_empty()).collect();
        let found = sites.len();
        sites.retain(|site| self.request.wants(&site.function));
        let left_out = found - sites.len();
        if left_out > 0 {
            self.plan.blind_spots.push(BlindSpot {
                what: format!("{left_out} functions with handlers"),
                reason: "--function leaves them out".to_owned(),
                remedy: None,
            });
        }
        sites.sort_by_key(|site| {
            (!site.is_livepatched(), !site.relies(), !points::runs_in_eqs(&site.function))
        });
        let mut not_watched = 0_u64;
        for site in sites {
            let is_there = facts.symbols.as_ref().map_or(true, |symbols| symbols.has(&site.function));
            let matters = site.relies() || points::runs_in_eqs(&site.function);
            if !matters && self.quiet_sites == QUIET_SITES_MAX {
                not_watched += 1;
                continue;
            }
            self.quiet_sites += usize::from(!matters);
            let point = if site.is_livepatched() { Point::PatchedFunction } else { Point::FtraceFunction };
            let mut passed_over = Vec::new();
            let function = Function { name: &site.function, site: Some(site) };
            let chosen = self
                .try_function(function, &mut passed_over)
                .map(|chosen| self.add(point, chosen, Some(site)));
            self.plan.rows.push(PointChoice {
                point,
                site: Some(site.function.clone()),
                // A livepatch names functions of modules that are not loaded: nothing can run there.
                required: matters && is_there,
                chosen,
                passed_over,
            });
        }
        not_watched += facts.handled.more;
        if not_watched > 0 {
            self.plan.blind_spots.push(BlindSpot {
                what: format!("{not_watched} more functions with handlers"),
                reason: "their handlers are tracers that need no RCU, and probes are finite".to_owned(),
                remedy: Some("name those of interest with --function".to_owned()),
            });
        }
    }

    /// Functions that run with RCU off on this kernel and can be hooked, though nobody is on them. Without
    /// `--exposed` they are named and left alone.
    fn idle_victims(&mut self) {
        let mut passed_over = Vec::new();
        let mut any_hookable = false;
        for &name in points::IDLE_VICTIMS {
            let is_handled = self.facts.handled.site(name).is_some_and(|site| !site.handlers.is_empty());
            if !self.request.wants(name) || is_handled {
                continue;
            }
            let mut reasons = Vec::new();
            let Some(chosen) = self.try_function(Function { name, site: None }, &mut reasons) else {
                passed_over.append(&mut reasons);
                continue;
            };
            any_hookable = true;
            let chosen = if self.request.exposed {
                Some(self.add(Point::IdleVictim, chosen, None))
            } else {
                let reason = format!("{EXPOSED_WHY}; {EXPOSED_REMEDY}");
                reasons.push(PassedOver { mechanism: chosen.mechanism, symbol: chosen.symbol, reason });
                None
            };
            self.plan.rows.push(PointChoice {
                point: Point::IdleVictim,
                site: Some(name.to_owned()),
                required: false,
                chosen,
                passed_over: reasons,
            });
        }
        if !any_hookable && !passed_over.is_empty() {
            self.plan.rows.push(PointChoice {
                point: Point::IdleVictim,
                site: None,
                required: false,
                chosen: None,
                passed_over: by_reason(passed_over),
            });
        }
    }

    fn requirements(&mut self) {
        let rows_of = |plan: &AttachPlan, points: &[Point]| -> Vec<usize> {
            plan.rows.iter().filter(|row| points.contains(&row.point)).filter_map(|row| row.chosen).collect()
        };
        let why = |plan: &AttachPlan, points: &[Point]| {
            let rows = plan.rows.iter().filter(|row| points.contains(&row.point));
            rows.flat_map(|row| &row.passed_over).next().map(|passed| passed.reason.clone())
        };
        for points in [&[Point::Checkpoint][..], &[Point::EqsEnter, Point::EqsExit]] {
            self.plan.requirements.push(PlannedRequirement {
                what: points.iter().map(|point| point.name()).collect::<Vec<_>>().join(" or "),
                any_of: rows_of(&self.plan, points),
                reason: why(&self.plan, points),
            });
        }
        // What nobody could see is not what nobody did: without ftrace no run is conclusive.
        self.plan.requirements.extend(self.facts.handled.switches.ftrace_is_off().map(|reason| {
            let what = CARRIED_BY_FTRACE.to_owned();
            PlannedRequirement { what, any_of: Vec::new(), reason: Some(reason.to_string()) }
        }));
        let sites = self.plan.rows.iter().filter(|row| row.required && row.site.is_some());
        let sites: Vec<_> = sites
            .map(|row| PlannedRequirement {
                what: row.site.clone().unwrap_or_default(),
                any_of: row.chosen.into_iter().collect(),
                reason: row.chosen.is_none().then(|| row.reasons()),
            })
            .collect();
        self.plan.requirements.extend(sites);
        // What no probe shows the looks judge, and the end of the run says whether they could.
        let is_probed = |requirement: &&Requirement| !matches!(requirement, Requirement::Rule(rule) if rule.row().is_looked_for());
        for requirement in self.request.require.iter().filter(is_probed) {
            let (what, points, any_of) = match *requirement {
                Requirement::Point(point) => (point.name(), vec![point], rows_of(&self.plan, &[point])),
                Requirement::Rule(rule) => {
                    let probes = self.plan.probes.iter().enumerate();
                    let seen = probes.filter(|(_, planned)| rule.row().sees(&planned.probe));
                    (rule.code(), points_of(rule.row()), seen.map(|(index, _)| index).collect())
                }
            };
            let reason = any_of.is_empty().then(|| {
                // The reason of entry code, where nothing but entry code would do.
                let entry = |point| points::NOT_WATCHED.iter().find(|(unseen, _)| unseen == point);
                let entries: Option<Vec<_>> = points.iter().map(entry).collect();
                entries
                    .and_then(|entries| entries.first().map(|(_, reason)| (*reason).to_owned()))
                    .or_else(|| why(&self.plan, &points))
                    .unwrap_or_else(|| "nothing of this plan shows it".to_owned())
            });
            self.plan.requirements.push(PlannedRequirement { what: what.to_owned(), any_of, reason });
        }
    }

    fn blind_spots(&mut self) {
        let anything = self.plan.refusals.iter().map(|reason| BlindSpot {
            what: "anything".to_owned(),
            reason: reason.why.clone(),
            remedy: reason.remedy.clone(),
        });
        let victims =
            self.plan.rows.iter().filter(|row| row.point == Point::IdleVictim && row.site.is_some());
        let alone = victims.filter(|row| row.chosen.is_none()).count();
        let alone = (alone > 0).then(|| BlindSpot {
            what: format!("what runs in {alone} functions of idle"),
            reason: EXPOSED_WHY.replacen("it runs", "they run", 1),
            remedy: Some("--exposed".to_owned()),
        });
        // Functions of idle that nobody can hook hide nothing.
        let rows = self.plan.rows.iter().filter(|row| row.chosen.is_none() && row.point != Point::IdleVictim);
        let rows = rows.filter(|row| !watchpoint::POINTS.contains(&row.point));
        let of_rows = rows.map(|row| BlindSpot {
            what: row
                .site
                .as_ref()
                .map_or_else(|| row.point.name().to_owned(), |site| format!("{} {site}", row.point.name())),
            reason: row.reasons(),
            remedy: None,
        });
        let switches = self.facts.handled.switches;
        let off = [(CARRIED_BY_FTRACE, switches.ftrace_is_off()), ("kprobes", switches.kprobes_are_off())];
        let off = off.into_iter().filter_map(|(what, off)| {
            let Reason { why: reason, remedy } = off?;
            Some(BlindSpot { what: what.to_owned(), reason, remedy })
        });
        let spots: Vec<_> = anything.chain(off).chain(of_rows).chain(alone).collect();
        self.plan.blind_spots.extend(spots);
        for (what, reason) in &self.facts.handled.unseen {
            self.plan.blind_spots.push(BlindSpot {
                what: (*what).to_owned(),
                reason: reason.why.clone(),
                remedy: reason.remedy.clone(),
            });
        }
        watchpoint::blind_spots(self);
        for (point, reason) in points::NOT_WATCHED {
            let is_seen = self.plan.rows.iter().any(|row| row.point == *point && row.chosen.is_some());
            if is_seen || watchpoint::POINTS.contains(point) {
                continue;
            }
            let (what, reason) = (point.name().to_owned(), (*reason).to_owned());
            self.plan.blind_spots.push(BlindSpot { what, reason, remedy: None });
        }
    }
}

/// Points whose probes let the rule judge.
fn points_of(rule: &Rule) -> Vec<Point> {
    let by_watchpoint = if rule.by_watchpoint { &watchpoint::POINTS[..] } else { &[] };
    [rule.needs, by_watchpoint].concat()
}

/// Functions that were passed over for the same reason become one entry with all their names.
fn by_reason(passed_over: Vec<PassedOver>) -> Vec<PassedOver> {
    let mut grouped: Vec<PassedOver> = Vec::new();
    for one in passed_over {
        match grouped.iter_mut().find(|other| other.mechanism == one.mechanism && other.reason == one.reason)
        {
            Some(other) => {
                other.symbol.push_str(", ");
                other.symbol.push_str(&one.symbol);
            }
            None => grouped.push(one),
        }
    }
    grouped
}
