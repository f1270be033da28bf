//! An earlier list of handlers, out of the stream that `handlers -f json` wrote.
//!
//! A list that is cut short would tell of handlers that are "new", so it is refused; so is what another command wrote.

use alloc::string::String;
use alloc::vec::Vec;

use crate::report::handler_change::ListedOn;
use crate::report::handlers::{HandlerList, HandlerReport};
use crate::report::{Envelope, Message, SCHEMA};

/// Handlers as they were listed, and what the list does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedHandlers {
    /// Where it was made.
    pub on: ListedOn,
    /// Every handler, ours among them.
    pub handlers: Vec<HandlerReport>,
    /// Lists of the kernel that could not be read.
    pub unread: Vec<HandlerList>,
    /// The patterns of `--function`; empty where all are listed.
    pub functions: Vec<String>,
}

/// Why lines are no list of handlers.
#[derive(Debug, thiserror::Error)]
pub enum HandlerListError {
    /// A line is no message.
    #[error("line {line} is no message of a stream ({error}); give what `rcu-watch handlers -f json` wrote")]
    NotAMessage {
        /// Its number, from 1.
        line: usize,
        /// What the JSON reader said.
        error: serde_json::Error,
    },
    /// Another command wrote it.
    #[error("it is the stream of `rcu-watch {command}`; give what `rcu-watch handlers -f json` wrote")]
    OfAnotherCommand {
        /// Which one.
        command: String,
    },
    /// Its shape is another version's.
    #[error("its schema is {schema}, and this build reads {SCHEMA}; list the handlers anew with this build")]
    OfAnotherSchema {
        /// Which one.
        schema: u32,
    },
    /// There is no header before the first message.
    #[error(
        "it does not begin with a header; give what `rcu-watch handlers -f json` wrote, from its first line"
    )]
    Headless,
    /// A second header, or something after the summary.
    #[error("line {line} goes on after the list's end; give a file with one list")]
    GoesOn {
        /// Its number, from 1.
        line: usize,
    },
    /// There is no summary.
    #[error("it ends before its summary, so the list was cut short; list the handlers anew")]
    CutShort,
}

impl ListedHandlers {
    /// Takes the lines of a stream.
    ///
    /// # Errors
    /// Where they are no whole list of handlers.
    pub fn read<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<Self, HandlerListError> {
        let mut listed: Option<Self> = None;
        let mut is_whole = false;
        for (index, text) in lines.into_iter().enumerate() {
            let (line, text) = (index + 1, text.as_ref());
            if text.trim().is_empty() {
                continue;
            }
            let message =
                Envelope::read(text).map_err(|error| HandlerListError::NotAMessage { line, error })?;
            if is_whole {
                return Err(HandlerListError::GoesOn { line });
            }
            let message = message.map(|envelope| envelope.message);
            match (&mut listed, message) {
                (None, Some(Message::Header(header))) => {
                    if header.command != "handlers" {
                        return Err(HandlerListError::OfAnotherCommand { command: header.command });
                    }
                    if header.schema != SCHEMA {
                        return Err(HandlerListError::OfAnotherSchema { schema: header.schema });
                    }
                    let unread = header.blind_spots.iter().filter_map(|spot| HandlerList::named(&spot.what));
                    listed = Some(Self {
                        unread: unread.collect(),
                        on: ListedOn {
                            host: header.host,
                            boot_id: header.boot_id,
                            release: header.kernel.release,
                        },
                        ..Self::default()
                    });
                }
                (None, _) => return Err(HandlerListError::Headless),
                (Some(_), Some(Message::Header(_))) => return Err(HandlerListError::GoesOn { line }),
                (Some(listed), Some(Message::Handler(handler))) => listed.handlers.push(*handler),
                (Some(listed), Some(Message::HandlerTotals(totals))) => listed.functions = totals.functions,
                (Some(_), Some(Message::Summary(_))) => is_whole = true,
                _ => {}
            }
        }
        match listed {
            Some(listed) if is_whole => Ok(listed),
            Some(_) => Err(HandlerListError::CutShort),
            None => Err(HandlerListError::Headless),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;
    use alloc::boxed::Box;
    use alloc::string::ToString as _;
    use alloc::vec;

    use super::*;
    use crate::probe::Reliance;
    use crate::report::handlers::{HandlerTotals, HookKind};
    use crate::report::header::{BlindSpot, Clock};
    use crate::report::summary::{EndedBy, RunVerdict};
    use crate::report::{Header, Summary};
    use crate::units::{Nanos, RealtimeOffset};

    fn header(command: &str) -> Message {
        let clock = Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: RealtimeOffset(0) };
        let spot = |what: &str| BlindSpot { what: what.into(), reason: "no".into(), remedy: None };
        Message::Header(Box::new(Header {
            boot_id: "b".into(),
            blind_spots: vec![spot("BPF programs"), spot("of a later version")],
            ..Header::new(command, clock)
        }))
    }

    fn lines(messages: Vec<Message>) -> Vec<String> {
        let line = |(seq, message)| Envelope { seq, ts_ns: Nanos(1), cpu: None, message };
        (0..).zip(messages).map(|pair| serde_json::to_string(&line(pair)).unwrap()).collect()
    }

    fn list() -> Vec<String> {
        let handler = HandlerReport::new(HookKind::Kprobe, "lab/site".to_owned(), Reliance::Relies);
        let functions = vec!["vfs_*".to_owned()];
        let totals = HandlerTotals { functions, ..HandlerTotals::of(core::slice::from_ref(&handler), 0) };
        lines(vec![
            header("handlers"),
            Message::Handler(Box::new(handler)),
            Message::HandlerTotals(totals),
            Message::Summary(Box::new(Summary::new(RunVerdict::Clean, 0, EndedBy::Listed))),
        ])
    }

    fn refused(lines: &[String]) -> String {
        ListedHandlers::read(lines).unwrap_err().to_string()
    }

    #[test]
    fn a_list_comes_back_with_what_it_lacks_and_what_it_was_asked_for() {
        let mut lines = list();
        lines.insert(2, r#"{"seq":9,"ts_ns":"1","type":"of a later version","data":1}"#.to_owned());
        let listed = ListedHandlers::read(&lines).unwrap();
        assert_eq!((listed.on.boot_id.as_str(), listed.handlers.len()), ("b", 1));
        assert_eq!(
            (listed.unread, listed.functions),
            (vec![HandlerList::Programs], vec!["vfs_*".to_owned()])
        );
    }

    #[test]
    fn what_is_no_whole_list_is_refused_with_what_to_give_instead() {
        let mut lines_of_a_list = list();
        assert!(refused(&lines_of_a_list[..3]).contains("cut short"));
        assert!(refused(&lines_of_a_list[1..]).contains("does not begin with a header"));
        assert!(refused(&[]).contains("does not begin with a header"));
        lines_of_a_list.extend(list());
        assert!(refused(&lines_of_a_list).starts_with("line 5 goes on"));
        assert!(refused(&lines(vec![header("watch")])).contains("`rcu-watch watch`"));
        assert!(refused(&["no break".to_owned()]).starts_with("line 1 is no message"));
    }
}
