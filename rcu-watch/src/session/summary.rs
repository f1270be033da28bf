//! The end of a run: everything detached, the last records taken, the books closed, the verdict.

use anyhow::Result;
use rcu_watch_common::slot;
use rcu_watch_core::RuleId;
use rcu_watch_core::condition::Looked;
use rcu_watch_core::pipeline::Pipeline;
use rcu_watch_core::probe::Point;
use rcu_watch_core::recording::part::End;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::summary::{
    CommandStatus, Cost, EndedBy, Followed, RuleCoverage, RuleStatus, Summary,
};
use rcu_watch_core::units::{CpuId, Nanos, ProbeId};
use rcu_watch_core::verdict::{self, Exit, FailOn, coverage};

use super::Session;
use crate::clock;
use crate::kernel::plan::Requirement;
use crate::outlet;

/// How a run is to be judged.
#[derive(Clone, Debug)]
pub struct Terms {
    pub fail_on: FailOn,
    pub require: Vec<Requirement>,
}

impl Session {
    /// Detaches everything, takes what is still on the way, and says how it went.
    ///
    /// # Errors
    /// Where the kernel does not give the counters; not where nobody reads the summary.
    pub fn finish(mut self, ended_by: EndedBy, terms: &Terms, child: Option<CommandStatus>) -> Result<Exit> {
        if ended_by == EndedBy::Signal {
            outlet::hurry();
        }
        let elapsed_ns = Nanos(clock::now().0.saturating_sub(self.started.0));
        let looked = self.take_last_looks();
        // Run time and skipped runs can only be asked of programs that are still attached.
        let mut told = looked.and_then(|()| self.tell_losses());
        let bpf_run_seconds = self.bpf_run_seconds();
        let probes: Vec<ProbeId> = self.probes.iter().map(|running| running.id).collect();
        self.programs.close_watchpoints();
        // Nothing is counted from here on, however long it takes until everything is detached.
        let stopped = self.programs.stop_counting();
        self.programs.detach_all()?;
        stopped?;
        self.programs.settle();
        self.reader.take_kept(self.programs.kept()?);
        // Where nobody can be told any more, the books are closed and the recording is ended all the same.
        told = told.and_then(|()| {
            // Nothing is attached that could add to it.
            while self.drain_all()?.records > 0 {}
            self.tell_losses()
        });
        for &probe in &probes {
            let at_rest = self.books.at_rest(probe);
            self.pipeline.count_at_rest(probe, at_rest);
        }
        told = told.and_then(|()| self.tell_repeats());

        let pipeline = &self.pipeline;
        let delivered = |cpu: CpuId, probe: ProbeId| pipeline.delivered(cpu, probe);
        let books = self.books.report(&self.probes, delivered);
        let totals = verdict::totals(&books, self.books.missed(), pipeline.undecodable());
        let rules = coverage(pipeline);
        let mut reasons = self.unmet_requirements(&terms.require, &rules);
        reasons.extend(self.given_up());
        reasons.append(&mut self.doubts);
        let unmet = reasons.clone();
        if totals.lost > 0 {
            let records = if totals.lost == 1 { "record was" } else { "records were" };
            reasons.push(format!("{} {records} lost; enlarge the ring with --ring-bytes", totals.lost));
        }
        if totals.missed > 0 {
            let runs = if totals.missed == 1 { "run was" } else { "runs were" };
            reasons.push(format!(
                "{} {runs} skipped by the kernel's recursion guard; run it again",
                totals.missed
            ));
        }
        if totals.undecodable > 0 {
            reasons.push(format!("{} records could not be decoded", totals.undecodable));
        }
        if let Some(refused) = self.reader.refused().filter(|&refused| refused > totals.lost) {
            reasons.push(format!("perf says that {refused} records were lost, the books {}", totals.lost));
        }
        reasons.extend(self.books.imbalances(delivered));
        let worst = self.stream.worst();
        let verdict = verdict::judge(worst, terms.fail_on, !reasons.is_empty());
        let command_failed = child.as_ref().is_some_and(super::child::failed);
        let codes = self.format.codes();
        let exit = self.stream.as_heard(Exit::of_run(verdict, command_failed).among(codes));
        let own = clock::own_cost()?;
        let summary = Summary {
            reasons,
            elapsed_ns,
            totals,
            findings: verdict::findings(pipeline, 0, |rule| self.filter.tells(rule)),
            rules,
            guards: verdict::guards(pipeline),
            books,
            cost: Cost {
                user_cpu_seconds: own.cpu_seconds,
                bpf_run_seconds,
                ring_bytes: self.reader.bytes(),
                resident_bytes: own.resident_bytes,
                max_resident_bytes: own.max_resident_bytes,
            },
            child,
            transitions: self.transitions(),
            followed: Followed::of(pipeline.tracks()),
            output_dropped: self.stream.dropped(),
            ..Summary::new(verdict, exit.code(), ended_by)
        };
        let recorded = self.recorder.take().map(|recorder| {
            recorder.end(&End {
                ts_ns: clock::now(),
                elapsed_ns: summary.elapsed_ns,
                books: summary.books.clone(),
                missed: summary.totals.missed,
                unmet,
                looks: looks(pipeline),
            })
        });
        let heard = told.and_then(|()| {
            self.stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
            Ok(self.stream.finish(exit)?)
        });
        // What the recording did not take is told where the stream itself has nothing worse to say.
        heard.and_then(|exit| recorded.unwrap_or(Ok(())).map(|()| exit))
    }

    /// What had to be seen and was not: the required points of the plan, and `--require`.
    fn unmet_requirements(&self, asked: &[Requirement], rules: &[RuleStatus]) -> Vec<String> {
        let mut unmet = self.unattached.clone();
        for running in &self.probes {
            if running.probe.point != Point::Checkpoint || running.id.0 == slot::SELF_TEST {
                continue;
            }
            let silent: Vec<CpuId> = self
                .cpus
                .iter()
                .copied()
                .filter(|&cpu| !self.books.fired_on(running.id, cpu) && !self.closed_cpus.contains(&cpu))
                .collect();
            if !silent.is_empty() {
                unmet.push(format!("the checkpoint never fired on cpu {}", list(&silent)));
            }
        }
        let idle: Vec<ProbeId> = self
            .probes
            .iter()
            .filter(|running| matches!(running.probe.point, Point::EqsEnter | Point::EqsExit))
            .map(|running| running.id)
            .collect();
        if !idle.is_empty() && idle.iter().all(|&probe| self.books.hits(probe) == 0) {
            unmet.push("no entry into idle was seen on any cpu".to_owned());
        }
        for requirement in asked {
            match *requirement {
                Requirement::Rule(rule) => {
                    let status = rules.iter().find(|status| status.rule == rule);
                    if status.is_none_or(|status| status.status != RuleCoverage::Judged) {
                        unmet.push(format!("{rule} is required and was not judged"));
                    }
                }
                Requirement::Point(point) => {
                    let fired = self
                        .probes
                        .iter()
                        .any(|running| running.probe.point == point && self.books.hits(running.id) > 0);
                    if !fired {
                        unmet.push(format!("{} is required and did not fire", point.name()));
                    }
                }
            }
        }
        unmet
    }
}

/// What the looks could say of each rule that they judge.
fn looks(pipeline: &Pipeline) -> Vec<(RuleId, Looked)> {
    let of_rule = |&rule: &RuleId| Some((rule, pipeline.look(rule)?.clone()));
    RuleId::ALL.iter().filter_map(of_rule).collect()
}

fn list(cpus: &[CpuId]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
