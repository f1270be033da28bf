//! The queue itself: what waits for each reader, in which order it goes, and what has to stay behind.
//!
//! What is handed over is whole: a line or several, of one message. A lane holds [`LIMIT`] bytes. Where a live run finds it
//! full, the newest of what matters least makes room for what matters more, and is counted. The two lanes keep their
//! common order as long as both readers read; one that has stopped holds up its own lane only.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use rcu_watch_core::report::OutputDropped;

/// Bytes that may wait for a reader.
pub(crate) const LIMIT: usize = 4 << 20;
/// A reader that reads is waited for so long, one that has stopped is not.
const MOMENT: Duration = Duration::from_millis(10);
/// A write that takes longer has met a reader that stopped: the other lane goes on.
const HOLDS_UP: Duration = Duration::from_millis(50);
/// How long the end waits for a reader: after a signal, and after a live run that ended otherwise.
const AFTER_SIGNAL: Duration = Duration::from_secs(1);
const AFTER_RUN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Output,
    Error,
}

/// How much is lost with it; in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// The next one says it again: a status line.
    Passing,
    Plain,
    Finding,
    /// The first and the last message, and what was dropped in between.
    Frame,
}

/// Whole lines for one reader.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub lane: Lane,
    pub class: Class,
    /// Messages that end in it.
    pub messages: u64,
    pub bytes: Vec<u8>,
}

impl Parcel {
    fn add_to(&self, dropped: &mut OutputDropped) {
        match self.class {
            Class::Passing => {}
            Class::Finding => {
                dropped.messages += self.messages;
                dropped.findings += self.messages;
            }
            Class::Plain | Class::Frame => dropped.messages += self.messages,
        }
    }
}

/// What one reader has still to take.
#[derive(Default)]
struct Waiting {
    parcels: VecDeque<(u64, Parcel)>,
    /// Of these, and of the one that is being written.
    bytes: usize,
    /// The number of the one that is being written, what is lost with it, and since when.
    writing: Option<(u64, OutputDropped, Instant)>,
    /// Parcels that were taken so far, and how many there were when a wait for room was in vain.
    taken: u64,
    taken_at_last_wait: Option<u64>,
    state: Reader,
}

#[derive(Default)]
enum Reader {
    #[default]
    Reads,
    Gone,
    /// The error, until somebody was told.
    Failed(Option<io::Error>),
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.writing.is_none()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= LIMIT
    }

    /// Takes out the newest of what matters least and less than `class`.
    fn evict(&mut self, class: Class) -> Option<Parcel> {
        let (index, _) = self
            .parcels
            .iter()
            .enumerate()
            .filter(|(_, (_, parcel))| parcel.class < class)
            .min_by_key(|(index, (_, parcel))| (parcel.class, usize::MAX - index))?;
        let (_, parcel) = self.parcels.remove(index)?;
        self.bytes -= parcel.bytes.len();
        Some(parcel)
    }

    /// Whether something that was handed over before `number` is still to be written, and will be soon.
    fn goes_before(&self, number: u64) -> bool {
        match (&self.writing, self.parcels.front()) {
            (Some((earlier, _, since)), _) => *earlier < number && since.elapsed() < HOLDS_UP,
            (None, Some((earlier, _))) => *earlier < number,
            (None, None) => false,
        }
    }
}

struct State {
    lanes: [Waiting; 2],
    next: u64,
    /// Something is attached: nobody may wait for a reader.
    live: u32,
    /// A signal came.
    hurried: bool,
    /// The threads are to end once all is written.
    over: bool,
    dropped: OutputDropped,
    told: OutputDropped,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    moved: Condvar,
    closed: Arc<AtomicBool>,
}

impl Queue {
    /// A queue with a thread for each of the two.
    ///
    /// # Errors
    /// Where there can be no more threads.
    pub(crate) fn start(output: File, error: File) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::new(State {
                lanes: [Waiting::default(), Waiting::default()],
                next: 0,
                live: 0,
                hurried: false,
                over: false,
                dropped: OutputDropped::default(),
                told: OutputDropped::default(),
            }),
            moved: Condvar::new(),
            closed: Arc::default(),
        });
        // Signals are for the thread that answers them.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let started =
            [(Lane::Output, output, "output"), (Lane::Error, error, "error")].map(|(lane, to, name)| {
                let queue = queue.clone();
                thread::Builder::new().name(name.to_owned()).spawn(move || queue.write(lane, to))
            });
        before.thread_set_mask()?;
        started.into_iter().try_for_each(|thread| thread.map(drop))?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Option<Duration>) -> MutexGuard<'a, State> {
        match time {
            Some(time) => self.moved.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Set once the reader of standard output has gone away, or is taken for gone.
    pub(crate) fn closed(&self) -> &Arc<AtomicBool> {
        &self.closed
    }

    /// Hands over what is to be written. A reader that stopped is waited for unless something is attached.
    ///
    /// # Errors
    /// What an earlier write to standard output met. Nobody hears of one to standard error.
    pub(crate) fn push(&self, parcel: Parcel) -> io::Result<()> {
        let lane = parcel.lane as usize;
        let mut state = self.wait_for_room(parcel.lane, parcel.bytes.len());
        match &mut state.lanes[lane].state {
            Reader::Reads => {}
            _ if parcel.lane == Lane::Error => return Ok(()),
            Reader::Gone => return Err(ErrorKind::BrokenPipe.into()),
            Reader::Failed(error) => return error.take().map_or(Ok(()), Err),
        }
        while !state.lanes[lane].has_room(parcel.bytes.len()) {
            let Some(evicted) = state.lanes[lane].evict(parcel.class) else {
                parcel.add_to(&mut state.dropped);
                return Ok(());
            };
            evicted.add_to(&mut state.dropped);
        }
        let number = state.next;
        state.next += 1;
        let waiting = &mut state.lanes[lane];
        waiting.bytes += parcel.bytes.len();
        waiting.parcels.push_back((number, parcel));
        self.moved.notify_all();
        Ok(())
    }

    fn wait_for_room(&self, lane: Lane, bytes: usize) -> MutexGuard<'_, State> {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            let may_wait = state.live == 0 && !state.hurried;
            let waiting = &mut state.lanes[lane as usize];
            if waiting.has_room(bytes) || !matches!(waiting.state, Reader::Reads) {
                return state;
            }
            let left = MOMENT.saturating_sub(began.elapsed());
            if may_wait {
                state = self.wait(state, None);
            } else if left.is_zero() || waiting.taken_at_last_wait == Some(waiting.taken) {
                waiting.taken_at_last_wait = Some(waiting.taken);
                return state;
            } else {
                state = self.wait(state, Some(left));
            }
        }
    }

    /// From here to [`Self::set_dead`] nobody waits for a reader.
    pub(crate) fn set_live(&self) {
        self.lock().live += 1;
    }

    pub(crate) fn set_dead(&self) {
        self.lock().live -= 1;
    }

    /// A signal came: whoever waits for a reader goes on, and the end does not wait for long.
    pub(crate) fn hurry(&self) {
        self.lock().hurried = true;
        self.moved.notify_all();
    }

    /// All that found no room.
    pub(crate) fn dropped(&self) -> OutputDropped {
        self.lock().dropped
    }

    /// What was dropped and not told, once the reader goes on.
    pub(crate) fn news(&self) -> Option<OutputDropped> {
        let mut state = self.lock();
        let goes_on = state.lanes.iter().all(|waiting| waiting.bytes <= LIMIT / 2);
        let State { dropped, told, .. } = *state;
        if !goes_on || dropped == told {
            return None;
        }
        state.told = dropped;
        Some(OutputDropped {
            messages: dropped.messages - told.messages,
            findings: dropped.findings - told.findings,
        })
    }

    /// Waits until all is written: without end where nothing is attached and no signal came. What is left then is
    /// dropped, and its reader taken for gone.
    ///
    /// # Errors
    /// What a write to standard output met.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let began = Instant::now();
        let mut state = self.lock();
        while !state.lanes.iter().all(Waiting::is_empty) {
            let most = match (state.hurried, state.live) {
                (true, _) => Some(AFTER_SIGNAL),
                (false, 0) => None,
                (false, _) => Some(AFTER_RUN),
            };
            let left = most.map(|most| most.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                self.give_up(&mut state);
                break;
            }
            state = self.wait(state, left);
        }
        match &mut state.lanes[Lane::Output as usize].state {
            Reader::Reads => Ok(()),
            Reader::Gone => Err(ErrorKind::BrokenPipe.into()),
            Reader::Failed(error) => error.take().map_or(Ok(()), Err),
        }
    }

    fn give_up(&self, state: &mut State) {
        let State { lanes, dropped, .. } = state;
        for waiting in lanes.iter_mut().filter(|waiting| !waiting.is_empty()) {
            waiting.parcels.drain(..).for_each(|(_, parcel)| parcel.add_to(dropped));
            if let Some((_, lost, _)) = &waiting.writing {
                dropped.messages += lost.messages;
                dropped.findings += lost.findings;
            }
            waiting.state = Reader::Gone;
        }
        if matches!(lanes[Lane::Output as usize].state, Reader::Gone) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// A line for standard error, and `time` to write it; nothing where its reader has stopped.
    pub(crate) fn last_words(&self, line: String, time: Duration) {
        let parcel = Parcel { lane: Lane::Error, class: Class::Frame, messages: 0, bytes: line.into_bytes() };
        let began = Instant::now();
        self.set_live();
        // There is none: it is for standard error.
        let _ = self.push(parcel);
        self.set_dead();
        let mut state = self.lock();
        while !state.lanes[Lane::Error as usize].is_empty() && began.elapsed() < time {
            state = self.wait(state, Some(time.saturating_sub(began.elapsed())));
        }
    }

    /// The life of a lane's thread.
    fn write(&self, lane: Lane, mut to: File) {
        while let Some(bytes) = self.next(lane) {
            let written = write_all(&mut to, &bytes);
            let mut state = self.lock();
            let waiting = &mut state.lanes[lane as usize];
            waiting.writing = None;
            waiting.taken += 1;
            waiting.bytes -= bytes.len();
            if let Err(error) = written {
                let is_gone = error.kind() == ErrorKind::BrokenPipe;
                waiting.state = if is_gone { Reader::Gone } else { Reader::Failed(Some(error)) };
                waiting.parcels.clear();
                waiting.bytes = 0;
                if lane == Lane::Output && is_gone {
                    self.closed.store(true, Ordering::Relaxed);
                }
            }
            self.moved.notify_all();
        }
    }

    /// What is to be written next; `None` at the end.
    fn next(&self, lane: Lane) -> Option<Vec<u8>> {
        let other = if lane == Lane::Output { Lane::Error } else { Lane::Output };
        let mut state = self.lock();
        loop {
            let wait = match state.lanes[lane as usize].parcels.front() {
                Some((number, _)) if state.lanes[other as usize].goes_before(*number) => Some(HOLDS_UP),
                Some(_) => break,
                None if state.over => return None,
                None => None,
            };
            state = self.wait(state, wait);
        }
        let waiting = &mut state.lanes[lane as usize];
        let (number, parcel) = waiting.parcels.pop_front()?;
        let mut lost = OutputDropped::default();
        parcel.add_to(&mut lost);
        waiting.writing = Some((number, lost, Instant::now()));
        Some(parcel.bytes)
    }

    /// Lets the threads end.
    #[cfg(test)]
    fn end(&self) {
        self.lock().over = true;
        self.moved.notify_all();
    }
}

/// Whoever started us may have made the descriptor one that does not wait.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                poll(&mut room, PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
