//! The run itself: drains the ring, tells how it goes, and ends when something says so.
//!
//! The programs do not wake us for a record (that would end the idle period under watch), so the ring is
//! looked at ten times a second, and sooner once it is a quarter full.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcu_watch_core::report::summary::EndedBy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};

use super::Session;
use super::child::RunningCommand;
use super::signals::Signals;

/// Between two looks at the ring.
const LOOK: Duration = Duration::from_millis(100);
/// Between two status lines.
const STATUS: Duration = Duration::from_secs(1);
/// Between two heartbeats in the stream.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Records taken before anything else gets its turn.
const BATCH: usize = 4096;

/// Runs until the time is up, enough was found, a signal came, the command ended or nobody reads any more.
///
/// # Errors
/// Where the stream cannot be written, or the kernel does not answer.
pub async fn run(
    session: &mut Session,
    duration: Option<Duration>,
    limit: Option<u64>,
    command: &mut Option<RunningCommand>,
    signals: &mut Signals,
) -> Result<EndedBy> {
    let ring = session.reader.ring_fd()?.map(|ring| {
        // SAFETY: an owned descriptor, which stays open and the same for as long as it is registered.
        unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
    });
    let ring = ring.transpose().context("cannot wait for the ring buffer")?;
    let end = duration.map(|duration| Instant::now() + duration);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut status = interval(STATUS);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut more = false;
    loop {
        tokio::select! {
            biased;
            () = signals.any() => return Ok(EndedBy::Signal),
            () = until(end) => return Ok(EndedBy::Duration),
            ended = ended(command) => {
                ended?;
                return Ok(EndedBy::Command);
            }
            _ = heartbeat.tick() => session.heartbeat()?,
            _ = status.tick() => session.status()?,
            _ = look.tick() => {
                session.turn_watchpoints()?;
                more = session.drain(BATCH)?.more;
                session.follow()?;
                session.take_looks()?;
            }
            ready = filled(ring.as_ref()) => {
                ready?;
                more = session.drain(BATCH)?.more;
            }
            // Programs do not wake for what they find unread.
            () = std::future::ready(()), if more => more = session.drain(BATCH)?.more,
        }
        if session.stream.is_left() {
            return Ok(EndedBy::ClosedPipe);
        }
        if limit.is_some_and(|limit| session.told >= limit) {
            return Ok(EndedBy::Limit);
        }
    }
}

/// Returns when a program says that the ring buffer fills; never where there is no descriptor to say it.
async fn filled(ring: Option<&AsyncFd<OwnedFd>>) -> Result<()> {
    match ring {
        Some(ring) => ring
            .readable()
            .await
            .context("cannot wait for the ring buffer")
            .map(|mut ready| ready.clear_ready()),
        None => std::future::pending().await,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn ended(command: &mut Option<RunningCommand>) -> Result<()> {
    match command {
        Some(command) => command.wait().await.map(|_| ()),
        None => std::future::pending().await,
    }
}
