//! Follows the handlers of others while a run is under way: attaches where one appears, and leaves where the
//! last one has left. Programs stay loaded meanwhile: the same handler often comes back.
//!
//! Threads of their own look: to attribute handlers takes whole lists of the kernel, and neither the ring nor the
//! next livepatch may wait for that. They send what they noticed; the run's loop applies it, in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rcu_watch_core::probe::{Handler, Mechanism, Point};
use rcu_watch_core::recording::part::NumberedProbe;
use rcu_watch_core::report::header::{ChosenProbe, PlannedPoint, Proof};
use rcu_watch_core::report::{LivepatchReport, Message, PlanChange, ProbeError};
use rcu_watch_core::units::{Nanos, ProbeId};

use super::{RunningProbe, Session, attach_site, ending};
use crate::clock;
use crate::kernel::attribution::Site;
use crate::kernel::facts::ask::RunningKernel;
use crate::kernel::follow::{Follower, SiteChange};
use crate::kernel::livepatch::Livepatch;
use crate::kernel::mount::Tree;
use crate::kernel::own_kprobe::{OwnKprobe, OwnKprobes, is_kprobe};
use crate::kernel::plan::{PlannedProbe, PointChoice};
use crate::kernel::points;
use crate::kernel::track::{LivepatchEvent, Livepatches, News};

/// Between two looks at the livepatches: shorter than any transition that matters to somebody.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks for a sign of new handlers, which make a look at everything worth its time.
const ROUND: Duration = Duration::from_secs(2);
/// A look at everything takes at most one part in so many of the time, however long the lists are,
const SHARE: u32 = 20;
/// but without any sign it is not put off for longer than this.
const AT_MOST: Duration = Duration::from_secs(10);

/// After this long the loop has its turn again, whatever is left to apply: signals and the ring do not wait.
const TURN: Duration = Duration::from_millis(200);

const APPEARED: &str = "handlers appeared";
const CHANGED: &str = "handlers changed";
const FIRED: &str = "it fired for the first time";

/// What a thread has to say.
enum Noticed {
    Livepatches(Vec<LivepatchEvent>),
    Sites(Vec<SiteChange>),
}

/// The run's end of the threads that look.
pub(super) struct Following {
    noticed: Receiver<Noticed>,
    /// What the last turn had no time for.
    left: Option<Noticed>,
    own_kprobes: Shared,
}

/// The kprobes of this process. A function is put here before the kernel is asked for the kprobe, and taken out
/// after it is gone: whoever reads the kernel's list in between takes it for ours.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<OwnKprobes>>);

impl Shared {
    fn now(&self) -> OwnKprobes {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, OwnKprobes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mechanism: Mechanism, function: &str) {
        let mut own = self.lock();
        own.moves += 1;
        own.kprobes.extend(OwnKprobe::of(mechanism, function));
    }

    fn remove(&self, mechanism: Mechanism, function: &str) {
        let mut own = self.lock();
        own.moves += 1;
        let gone = OwnKprobe::of(mechanism, function);
        if let Some(index) = gone.and_then(|gone| own.kprobes.iter().position(|other| *other == gone)) {
            own.kprobes.swap_remove(index);
        }
    }

    fn set_resting(&self, resting: usize) {
        self.lock().resting = resting;
    }
}

impl Following {
    /// Starts to look; `livepatches` are those that the run was planned with, `probes` are attached already.
    pub(super) fn start(
        follower: Follower<RunningKernel>,
        livepatches: &[Livepatch],
        probes: &[RunningProbe],
    ) -> Result<Self> {
        let livepatches = Livepatches::new(Tree::live(), livepatches);
        let own_kprobes = Shared::default();
        for running in probes {
            own_kprobes.add(running.probe.mechanism, &running.probe.symbol);
        }
        let (sender, noticed) = channel();
        let (kick, kicked) = channel();
        let (own, told) = (own_kprobes.clone(), sender.clone());
        start("livepatches", move || look(livepatches, &told, &kick))?;
        start("handlers", move || look_around(follower, &own, &sender, &kicked))?;
        Ok(Self { noticed, left: None, own_kprobes })
    }

    fn next(&mut self) -> Option<Noticed> {
        self.left.take().or_else(|| self.noticed.try_recv().ok())
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread
        .context("cannot start the threads that follow handlers; is a limit of processes reached?")
        .map(drop)
}

/// Looks at the livepatches until nobody listens any more.
fn look(mut livepatches: Livepatches, sender: &Sender<Noticed>, kick: &Sender<()>) {
    loop {
        let News { events, objects_moved } = livepatches.look();
        let is_new = !events.is_empty() || objects_moved;
        // Nothing is sent too: a closed channel is how this thread learns that the run is over.
        if sender.send(Noticed::Livepatches(events)).is_err() || (is_new && kick.send(()).is_err()) {
            return;
        }
        thread::sleep(LOOK);
    }
}

/// Looks at all handlers, every now and then and when a livepatch moved.
fn look_around(
    mut follower: Follower<RunningKernel>,
    own: &Shared,
    sender: &Sender<Noticed>,
    kicked: &Receiver<()>,
) {
    let (mut looked, mut pause) = (Instant::now(), ROUND);
    loop {
        match kicked.recv_timeout(ROUND) {
            Err(RecvTimeoutError::Timeout) if !follower.sees_a_sign() && looked.elapsed() < pause => continue,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while kicked.try_recv().is_ok() {}
        let began = Instant::now();
        let changes = follower.look_around(|| own.now());
        // To attribute anew takes long, but only when something changed.
        pause = if changes.is_some() { ROUND } else { (began.elapsed() * SHARE).clamp(ROUND, AT_MOST) };
        looked = Instant::now();
        if sender.send(Noticed::Sites(changes.unwrap_or_default())).is_err() {
            return;
        }
    }
}

impl Session {
    /// Applies what was noticed since this was last called, as far as one turn of the loop allows; the next goes on.
    pub(super) fn follow(&mut self) -> Result<()> {
        let began = Instant::now();
        while let Some(noticed) = self.following.as_mut().and_then(Following::next) {
            match noticed {
                Noticed::Livepatches(all) => {
                    for happened in all {
                        let report = livepatch_report(happened);
                        self.tell(clock::now(), None, Message::Livepatch(report))?;
                    }
                }
                Noticed::Sites(changes) => {
                    // Also those of others have other trampolines now.
                    self.symbols.outdate();
                    let mut changes = VecDeque::from(changes);
                    while began.elapsed() < TURN
                        && let Some(change) = changes.pop_front()
                    {
                        // What the ring holds was seen with the handlers of before.
                        self.drain_all()?;
                        self.apply(change)?;
                        self.symbols.outdate();
                    }
                    if let Some(following) = self.following.as_mut().filter(|_| !changes.is_empty()) {
                        following.left = Some(Noticed::Sites(changes.into()));
                        return Ok(());
                    }
                    self.programs.give_back_memory();
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, change: SiteChange) -> Result<()> {
        match change {
            SiteChange::Appeared { site, row, planned } => match self.probe_on(&site.function) {
                // A livepatch may be there again before the module that its function is in.
                Some(id) if planned.is_some() || !self.detached.contains(&id) => {
                    self.return_to(id, &site, &row)
                }
                _ => self.attach_at(&site, &row, planned),
            },
            SiteChange::Changed { site } => {
                let Some(id) = self.probe_on(&site.function) else { return Ok(()) };
                self.set_handlers(id, &site.handlers);
                self.tell_attachment(id, CHANGED)
            }
            SiteChange::Left { function, because } => self.leave(&function, because),
        }
    }

    fn running(&self, id: ProbeId) -> Option<&RunningProbe> {
        self.probes.iter().find(|running| running.id == id)
    }

    /// The probe on `function`, attached or resting.
    fn probe_on(&self, function: &str) -> Option<ProbeId> {
        let is_on = |running: &&RunningProbe| {
            running.probe.symbol == function
                && matches!(
                    running.probe.point,
                    Point::PatchedFunction | Point::FtraceFunction | Point::IdleVictim
                )
        };
        self.probes.iter().find(is_on).map(|running| running.id)
    }

    fn set_handlers(&mut self, id: ProbeId, handlers: &[Handler]) {
        self.pipeline.set_handlers(id, handlers.to_vec());
        if let Some(running) = self.probes.iter_mut().find(|running| running.id == id) {
            running.probe.handlers = handlers.to_vec();
            if let Some(recorder) = &mut self.recorder {
                recorder.probe(&NumberedProbe { id, probe: running.probe.clone() });
            }
        }
    }

    fn attach_at(&mut self, site: &Site, row: &PointChoice, planned: Option<PlannedProbe>) -> Result<()> {
        let Some(planned) = planned else {
            if row.required {
                self.unattached.push(format!("{} is not watched: {}", site.function, row.reasons()));
            }
            return self.tell_plan(row, &site.handlers, None, "handlers appeared, and no probe can be there");
        };
        self.announce(planned.probe.mechanism, &planned.probe.symbol);
        let attached =
            self.programs.attach(planned.probe.point, planned.probe.mechanism, attach_site(&planned));
        let probe = planned.probe;
        match attached {
            Ok(id) => {
                self.pipeline.set_probe(id, probe.clone());
                if let Some(recorder) = &mut self.recorder {
                    recorder.probe(&NumberedProbe { id, probe: probe.clone() });
                }
                let running = RunningProbe { id, probe };
                let chosen = self.chosen(&running);
                self.probes.push(running);
                self.tell_plan(row, &site.handlers, Some(chosen), APPEARED)
            }
            Err(error) => {
                self.withdraw(probe.mechanism, &probe.symbol);
                let error = format!("{:#}", anyhow::Error::new(error));
                if row.required {
                    self.unattached.push(format!("{} is not watched: {error}", site.function));
                }
                let error = ProbeError { probe: None, symbol: probe.symbol, error };
                self.tell(clock::now(), None, Message::ProbeError(error))
            }
        }
    }

    /// The function had a probe of ours before: that of an earlier handler, or one that `--exposed` put there.
    fn return_to(&mut self, id: ProbeId, site: &Site, row: &PointChoice) -> Result<()> {
        if let Err(error) = self.wake(id) {
            let error = ProbeError { probe: Some(id), symbol: site.function.clone(), error };
            return self.tell(clock::now(), None, Message::ProbeError(error));
        }
        self.is_watched_again(id);
        self.set_handlers(id, &site.handlers);
        let chosen = self.running(id).map(|running| self.chosen(running));
        self.tell_plan(row, &site.handlers, chosen, APPEARED)
    }

    /// Nobody else is on the function any more: neither are we, unless `--exposed` put us there.
    fn leave(&mut self, function: &str, because: &str) -> Result<()> {
        let Some(id) = self.probe_on(function) else { return Ok(()) };
        self.set_handlers(id, &[]);
        let Some(running) = self.running(id) else { return Ok(()) };
        let point = running.probe.point;
        if point == Point::IdleVictim {
            return Ok(());
        }
        if self.detached.contains(&id) {
            self.is_watched_again(id);
            return Ok(());
        }
        if let Err(error) = self.rest(id) {
            let error = ProbeError { probe: Some(id), symbol: function.to_owned(), error };
            return self.tell(clock::now(), None, Message::ProbeError(error));
        }
        self.tell_plan(&row(point, function), &[], None, because)
    }

    /// Takes a probe off its function; an error is what the kernel said.
    pub(super) fn rest(&mut self, id: ProbeId) -> Result<(), String> {
        let Some(running) = self.running(id) else { return Ok(()) };
        let (mechanism, function) = (running.probe.mechanism, running.probe.symbol.clone());
        if ending::would_harm_ftrace(mechanism) {
            return Err("it stays attached while kernel.ftrace_enabled is 0; sysctl kernel.ftrace_enabled=1"
                .to_owned());
        }
        self.programs.detach(id).map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
        // First the program, then the kprobe: in between it is ours twice over, and never somebody else's.
        self.detached.push(id);
        self.count_resting();
        self.withdraw(mechanism, &function);
        Ok(())
    }

    /// Puts a probe that rests back on its function; an error is what the kernel said.
    pub(super) fn wake(&mut self, id: ProbeId) -> Result<(), String> {
        let Some(index) = self.detached.iter().position(|&other| other == id) else { return Ok(()) };
        let Some(running) = self.running(id) else { return Ok(()) };
        let (mechanism, function) = (running.probe.mechanism, running.probe.symbol.clone());
        self.announce(mechanism, &function);
        if let Err(error) = self.programs.reattach(id) {
            self.withdraw(mechanism, &function);
            let error = format!("{:#}", anyhow::Error::new(error));
            self.unattached.push(format!("{function} is not watched: {error}"));
            return Err(error);
        }
        self.detached.swap_remove(index);
        self.count_resting();
        Ok(())
    }

    /// Tells whether a probe is attached now, and why that changed or its handlers did.
    pub(super) fn tell_attachment(&mut self, id: ProbeId, because: &str) -> Result<()> {
        let Some(running) = self.running(id).cloned() else { return Ok(()) };
        let is_away = self.detached.contains(&id) || self.watch.is_given_up(&running);
        let chosen = (!is_away).then(|| self.chosen(&running));
        let RunningProbe { probe, .. } = running;
        let site = points::is_of_handlers(probe.point) || probe.point == Point::IdleVictim;
        let row = PointChoice { site: site.then(|| probe.symbol.clone()), ..row(probe.point, "") };
        self.tell_plan(&row, &probe.handlers, chosen, because)
    }

    /// Tells of probes that were not known to fire, and have fired since.
    pub(super) fn tell_proofs(&mut self) -> Result<()> {
        let is_new =
            |running: &&RunningProbe| !self.proven.contains(&running.id) && self.books.hits(running.id) > 0;
        let fired: Vec<RunningProbe> = self.probes.iter().filter(is_new).cloned().collect();
        for running in fired {
            self.proven.push(running.id);
            let RunningProbe { probe, .. } = &running;
            let site = points::is_of_handlers(probe.point) || probe.point == Point::IdleVictim;
            let row = PointChoice { site: site.then(|| probe.symbol.clone()), ..row(probe.point, "") };
            let chosen = self.chosen(&running);
            self.tell_plan(&row, &probe.handlers.clone(), Some(chosen), FIRED)?;
        }
        Ok(())
    }

    fn chosen(&self, running: &RunningProbe) -> ChosenProbe {
        let RunningProbe { id, probe } = running;
        let proof = if self.proven.contains(id) { Proof::Proven } else { Proof::Unproven };
        ChosenProbe { probe: Some(*id), mechanism: probe.mechanism, symbol: probe.symbol.clone(), proof }
    }

    fn count_resting(&self) {
        let rests =
            |id: &&ProbeId| self.running(**id).is_some_and(|running| is_kprobe(running.probe.mechanism));
        if let Some(following) = &self.following {
            following.own_kprobes.set_resting(self.detached.iter().filter(rests).count());
        }
    }

    fn announce(&self, mechanism: Mechanism, function: &str) {
        if let Some(following) = &self.following {
            following.own_kprobes.add(mechanism, function);
        }
    }

    fn withdraw(&self, mechanism: Mechanism, function: &str) {
        if let Some(following) = &self.following {
            following.own_kprobes.remove(mechanism, function);
        }
    }

    fn tell_plan(
        &mut self,
        row: &PointChoice,
        handlers: &[Handler],
        chosen: Option<ChosenProbe>,
        because: &str,
    ) -> Result<()> {
        let point = PlannedPoint {
            point: row.point,
            site: row.site.clone(),
            required: row.required,
            chosen,
            passed_over: row.passed_over.clone(),
        };
        let change = PlanChange { point, handlers: handlers.to_vec(), because: because.to_owned() };
        self.tell(clock::now(), None, Message::PlanChange(change))
    }
}

/// Of a site that was planned for before.
fn row(point: Point, function: &str) -> PointChoice {
    PointChoice {
        point,
        site: Some(function.to_owned()),
        required: false,
        chosen: None,
        passed_over: Vec::new(),
    }
}

/// As the stream tells it.
fn livepatch_report(happened: LivepatchEvent) -> LivepatchReport {
    let LivepatchEvent { patch, event, to_patched, functions, because, took } = happened;
    let functions = functions.iter().map(|f| format!("{}:{}", f.object, f.function)).collect();
    let took_ns = took.and_then(|took| u64::try_from(took.as_nanos()).ok()).map(Nanos);
    LivepatchReport { patch, event, to_patched, functions, because, took_ns }
}
