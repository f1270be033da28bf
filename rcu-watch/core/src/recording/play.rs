//! Plays a recording: the same bytes through the same pipeline, to whoever hears.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rcu_watch_common::slot;
use serde::de::DeserializeOwned;

use crate::coverage::coverage;
use crate::pipeline::Pipeline;
use crate::recording::PROBES_MAX;
use crate::recording::frame::{Frame, Frames, Part, ReadError, Source};
use crate::recording::part::{End, Names, NumberedProbe, Said, Start};
use crate::report::Message;
use crate::report::summary::{Book, EndedBy, Followed, Summary};
use crate::snapshot::Snapshot;
use crate::stream::{Audience, Filter, Host, Sight, StreamListener};
use crate::units::{Address, Nanos, ProbeId};
use crate::verdict::{self, Codes, Exit, FailOn};

/// How a recording is to be judged and told.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The least severity that makes the verdict `findings`.
    pub fail_on: FailOn,
    /// What is told of what is found.
    pub filter: Filter,
    /// Which exit codes the caller knows.
    pub codes: Codes,
}

/// Why a recording was not played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError<E> {
    /// Nothing of the recording can be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A frame is sound, but its JSON is not what this build expects.
    #[error("the recording holds JSON of another shape; use the rcu-watch that wrote it")]
    Shape(#[source] serde_json::Error),
    /// Whoever hears it takes no more.
    #[error("cannot write what the recording says")]
    Audience(#[source] E),
}

/// Plays all that can be read of a recording.
///
/// # Errors
/// Where nothing of it can be read, or the audience hears no more. A recording that is cut off or corrupt further on
/// is played up to there, and the run is inconclusive; one that names a probe beyond any plan is an error then.
pub fn play<S: Source, A: Audience>(
    input: S,
    audience: &mut A,
    terms: &Terms,
) -> Result<Exit, PlayError<A::Error>> {
    let mut frames = Frames::new(input)?;
    let start: Start = match frames.next() {
        Some(Ok(Frame::Start(json))) => parse(&json)?,
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) => return Err(ReadError::Corrupt(12).into()),
        None => return Err(ReadError::Cut(12).into()),
    };
    let mut pipeline = Pipeline::new(start.model.clone(), Vec::new());
    let (mut end, mut broken) = (None, None);
    for NumberedProbe { id, probe } in &start.probes {
        if let Err(error) = check(*id, frames.position()) {
            broken = Some(error);
            break;
        }
        pipeline.set_probe(*id, probe.clone());
    }
    let mut listener = StreamListener::new(audience, Recorded::default(), &terms.filter);
    listener.send(start.ts_ns, None, Message::Header(Box::new(start.header())));
    while broken.is_none()
        && let Some(part) = frames.next_part()
    {
        match part {
            Ok(Part::Record(bytes)) => pipeline.push(bytes, &mut listener),
            Ok(Part::Other(Frame::End(json))) => end = Some(parse::<End, _>(&json)?),
            Ok(Part::Other(Frame::Probe(json))) => {
                let probe: NumberedProbe = parse(&json)?;
                match check(probe.id, frames.position()) {
                    Ok(()) => revise(probe, &mut pipeline),
                    Err(error) => broken = Some(error),
                }
            }
            Ok(Part::Other(frame)) => take(frame, &mut pipeline, &mut listener)?,
            Err(error) => broken = Some(error),
        }
        listener.take_error().map_err(PlayError::Audience)?;
    }
    let exit = finish(pipeline, &mut listener, end, broken.as_ref(), terms);
    listener.take_error().map_err(PlayError::Audience)?;
    Ok(exit)
}

fn parse<T: DeserializeOwned, E>(json: &[u8]) -> Result<T, PlayError<E>> {
    serde_json::from_slice(json).map_err(PlayError::Shape)
}

/// Takes what is no record.
fn take<A: Audience>(
    frame: Frame,
    pipeline: &mut Pipeline,
    listener: &mut StreamListener<'_, A, Recorded>,
) -> Result<(), PlayError<A::Error>> {
    match frame {
        Frame::Names(json) => listener.host.names = parse::<Names, _>(&json)?.0,
        Frame::Said(json) => {
            let Said { ts_ns, cpu, what } = parse(&json)?;
            what.say(ts_ns, cpu, pipeline, listener);
        }
        Frame::Start(_) | Frame::Record(_) | Frame::Probe(_) | Frame::End(_) => {}
    }
    Ok(())
}

/// Refuses an id that no plan has: who wrote it wants the memory that is kept for those below it.
fn check(id: ProbeId, at: u64) -> Result<(), ReadError> {
    if id.0 < PROBES_MAX { Ok(()) } else { Err(ReadError::Probe { at, id: id.0 }) }
}

/// A probe that came, or whose handlers changed.
fn revise(NumberedProbe { id, probe }: NumberedProbe, pipeline: &mut Pipeline) {
    if pipeline.probe(id).is_some_and(|known| known.symbol == probe.symbol) {
        pipeline.set_handlers(id, probe.handlers);
    } else {
        pipeline.set_probe(id, probe);
    }
}

/// What a recording holds beside its records.
#[derive(Default)]
struct Recorded {
    names: BTreeMap<u64, String>,
}

impl Host for Recorded {
    fn name(&mut self, address: Address) -> Option<String> {
        self.names.get(&address.0).cloned()
    }

    fn sight(&mut self, snapshot: &Snapshot<'_>) -> Sight {
        // What a write of S meant hangs on who wrote it, and the addresses of that kernel's text are not recorded.
        if snapshot.probe.0 == slot::WATCH_STATE { Sight::Nothing } else { Sight::Itself }
    }
}

fn finish<A: Audience>(
    mut pipeline: Pipeline,
    listener: &mut StreamListener<'_, A, Recorded>,
    end: Option<End>,
    broken: Option<&ReadError>,
    terms: &Terms,
) -> Exit {
    for repeat in verdict::repeats(&mut pipeline, |rule| terms.filter.tells(rule)) {
        listener.send(listener.latest(), None, Message::Repeat(repeat));
    }
    let mut reasons: Vec<String> = broken.iter().map(ToString::to_string).collect();
    if end.is_none() && broken.is_none() {
        reasons.push("the recording has no end: it was cut off, or the run was killed".to_owned());
    }
    let end = end.unwrap_or_else(|| End {
        ts_ns: listener.latest(),
        elapsed_ns: Nanos(0),
        books: Vec::new(),
        missed: 0,
        unmet: Vec::new(),
        looks: Vec::new(),
    });
    for (rule, looked) in end.looks {
        pipeline.looked(rule, looked);
    }
    let books: Vec<Book> = end
        .books
        .into_iter()
        .map(|book| Book { delivered: pipeline.delivered(book.cpu, book.probe), ..book })
        .collect();
    for book in &books {
        pipeline.count_at_rest(book.probe, book.at_rest);
    }
    let totals = verdict::totals(&books, end.missed, pipeline.undecodable());
    reasons.extend(end.unmet);
    if totals.lost > 0 {
        reasons.push(format!("{} records were lost when this was recorded", totals.lost));
    }
    if totals.missed > 0 {
        reasons.push(format!("{} runs were skipped by the kernel's recursion guard", totals.missed));
    }
    if totals.undecodable > 0 {
        reasons.push(format!("{} records could not be decoded", totals.undecodable));
    }
    if books.iter().any(|book| book.emitted != book.delivered.saturating_add(book.lost)) {
        reasons.push("the recording does not hold every record that its books count".to_owned());
    }
    let judgement = verdict::judge(listener.audience.worst(), terms.fail_on, !reasons.is_empty());
    let exit = match broken {
        // Made to do harm: whatever it says besides is not to be gone by.
        Some(ReadError::Probe { .. }) => Exit::Error,
        _ => Exit::of_run(judgement, false).among(terms.codes),
    };
    let summary = Summary {
        reasons,
        elapsed_ns: end.elapsed_ns,
        totals,
        findings: verdict::findings(&pipeline, 0, |rule| terms.filter.tells(rule)),
        rules: coverage(&pipeline),
        guards: verdict::guards(&pipeline),
        books,
        followed: Followed::of(pipeline.tracks()),
        ..Summary::new(judgement, exit.code(), EndedBy::EndOfFile)
    };
    listener.send(end.ts_ns, None, Message::Summary(Box::new(summary)));
    exit
}
