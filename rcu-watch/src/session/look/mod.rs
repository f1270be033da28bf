//! Looks at the kernel's own lists, again and again, for what no probe can see.
//!
//! A handler that cannot run hits nothing, and a transition that stalls calls nobody. Each kind of such a thing has a
//! [`Look`] of its own, which reads and lets the core judge; one thread runs all of them, each at its own pace. The first
//! look of each is made before the header goes out, the last one before anything is detached.

mod dead;
mod grace_period;
mod log;
mod missed;
mod transition;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rcu_watch_core::RuleId;
use rcu_watch_core::condition::{Condition, Looked};
use rcu_watch_core::dmesg::joined;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::finding::Source;
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::stream::StreamListener;
use rcu_watch_core::units::Nanos;

use super::Session;
use super::host::LiveHost;
use crate::bpf::BpfError;
use crate::bpf::peek::Peek;
use crate::clock;
use crate::kernel::Facts;
use crate::kernel::layout::Layout;
use crate::kernel::mount::Tree;

use dead::DeadHandlers;
use grace_period::GracePeriodLook;
use missed::MissedRuns;
use transition::StalledTransitions;

/// How long the last look may take: a kernel that hangs in one of its lists must not hold up the end of the run.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks where none is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Something that a run looks at, because no event tells of it.
pub(crate) trait Look: Send {
    /// How long until the next look.
    fn pause(&self) -> Duration;

    /// Reads, and says what is so.
    fn look(&mut self, now: Nanos) -> Sighted;

    /// What it cannot see from the start on.
    fn unseen(&self) -> Option<BlindSpot> {
        None
    }

    /// The look at the end of the run.
    fn last(&mut self, now: Nanos) -> Sighted {
        self.look(now)
    }
}

/// What a look has to say.
#[derive(Debug, Default)]
pub(crate) struct Sighted {
    pub conditions: Vec<Condition>,
    /// What else belongs into the stream.
    pub messages: Vec<Message>,
    /// What it could say of the rules that it judges.
    pub looked: Vec<(RuleId, Looked)>,
    /// Why the run is inconclusive, a sentence each.
    pub unmet: Vec<String>,
}

/// All that a run looks at.
pub(super) fn all(
    facts: &Facts,
    layout: &Layout,
    peek: &Result<Peek, BpfError>,
    stall_after: Duration,
) -> Vec<Box<dyn Look>> {
    vec![
        Box::new(DeadHandlers::new(Tree::live())),
        Box::new(MissedRuns::new(Tree::live())),
        Box::new(StalledTransitions::new(Tree::live(), stall_after)),
        Box::new(GracePeriodLook::new(facts, layout, peek)),
        Box::new(log::Log::open(&Tree::live())),
    ]
}

/// The run's end of the thread that looks.
pub(super) struct Looks {
    sighted: Receiver<(Nanos, Sighted)>,
    /// Dropped to ask for the last look.
    asks: Option<Sender<()>>,
}

impl Looks {
    /// Looks once at everything, and goes on in a thread. Returns what the first look found.
    pub(super) fn start(mut looks: Vec<Box<dyn Look>>) -> Result<(Self, Vec<(Nanos, Sighted)>)> {
        let first = looks.iter_mut().map(|look| sight(|now| look.look(now))).collect();
        let (sender, sighted) = channel();
        let (asks, asked) = channel();
        let thread = thread::Builder::new().name("looks".to_owned());
        thread.spawn(move || look_on(looks, &sender, &asked)).context(
            "cannot start the thread that looks at the kernel's lists; is a limit of processes reached?",
        )?;
        Ok((Self { sighted, asks: Some(asks) }, first))
    }

    /// Asks for the last look, and waits for it. False where it does not come.
    fn end(&mut self, mut take: impl FnMut(Nanos, Sighted)) -> bool {
        drop(self.asks.take());
        let until = Instant::now() + PATIENCE;
        loop {
            match self.sighted.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((now, sighted)) => take(now, sighted),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

fn sight(look: impl FnOnce(Nanos) -> Sighted) -> (Nanos, Sighted) {
    let now = clock::now();
    (now, look(now))
}

/// Looks until it is asked for the last look, or nobody listens any more.
fn look_on(mut looks: Vec<Box<dyn Look>>, sender: &Sender<(Nanos, Sighted)>, asked: &Receiver<()>) {
    let due_after = |look: &dyn Look| Instant::now() + look.pause();
    let mut due: Vec<Instant> = looks.iter().map(|look| due_after(look.as_ref())).collect();
    loop {
        let next = due.iter().min().map_or(IDLE, |next| next.saturating_duration_since(Instant::now()));
        if asked.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        for (look, due) in looks.iter_mut().zip(&mut due) {
            if *due <= Instant::now() {
                if sender.send(sight(|now| look.look(now))).is_err() {
                    return;
                }
                *due = due_after(look.as_ref());
            }
        }
    }
    for look in &mut looks {
        if sender.send(sight(|now| look.last(now))).is_err() {
            return;
        }
    }
}

impl Session {
    /// Takes what the looks have found since this was last called.
    pub(super) fn take_looks(&mut self) -> Result<()> {
        while let Some((now, sighted)) = self.looks.as_ref().and_then(|looks| looks.sighted.try_recv().ok()) {
            self.take_sighted(now, sighted)?;
        }
        Ok(())
    }

    /// Makes the last look at everything and takes what it found.
    pub(super) fn take_last_looks(&mut self) -> Result<()> {
        let Some(mut looks) = self.looks.take() else { return Ok(()) };
        let mut told = Ok(());
        let is_whole = looks.end(|now, sighted| {
            if told.is_ok() {
                told = self.take_sighted(now, sighted);
            }
        });
        if !is_whole {
            let seconds = PATIENCE.as_secs();
            self.doubts.push(format!("the kernel's lists could not be read to the end within {seconds} s"));
        }
        told
    }

    pub(super) fn take_sighted(&mut self, now: Nanos, sighted: Sighted) -> Result<()> {
        let Sighted { conditions, messages, looked, unmet } = sighted;
        for (rule, looked) in looked {
            self.pipeline.looked(rule, looked);
        }
        for doubt in unmet {
            if !self.doubts.contains(&doubt) {
                self.doubts.push(doubt);
            }
        }
        for message in messages {
            self.tell(now, None, message)?;
        }
        for condition in conditions {
            self.take_condition(now, condition)?;
        }
        Ok(())
    }

    fn take_condition(&mut self, now: Nanos, mut condition: Condition) -> Result<()> {
        if condition.source == Source::Kernel {
            // What our probes saw until then comes first.
            self.drain_all()?;
            condition = joined(condition, now, &self.pipeline);
        }
        let Self { pipeline, symbols, stream, filter, told, recorder, watch, .. } = self;
        let host = LiveHost { symbols, recorder: None, causes: &mut watch.causes };
        let mut listener = StreamListener::new(stream, host, filter);
        listener.condition(pipeline, now, &condition);
        *told += listener.told();
        listener.take_error()?;
        if let Some(recorder) = recorder {
            recorder.condition(now, condition);
        }
        Ok(stream.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its looks.
    struct Counter(u32);

    impl Look for Counter {
        fn pause(&self) -> Duration {
            Duration::from_millis(1)
        }

        fn look(&mut self, _now: Nanos) -> Sighted {
            self.0 += 1;
            Sighted { unmet: vec![self.0.to_string()], ..Sighted::default() }
        }

        fn last(&mut self, _now: Nanos) -> Sighted {
            Sighted { unmet: vec!["last".to_owned()], ..Sighted::default() }
        }
    }

    #[test]
    fn a_run_has_the_first_look_those_in_between_and_the_last_in_order() {
        let (mut looks, first) = Looks::start(vec![Box::new(Counter(0))]).unwrap();
        let mut heard: Vec<String> = first.into_iter().flat_map(|(_, sighted)| sighted.unmet).collect();
        heard.extend(looks.sighted.recv().unwrap().1.unmet);
        assert!(looks.end(|_, sighted| heard.extend(sighted.unmet)));
        assert_eq!(heard.pop().as_deref(), Some("last"));
        assert!(heard.len() >= 2);
        assert!(heard.iter().zip(1..).all(|(heard, number)| *heard == number.to_string()), "{heard:?}");
    }
}
