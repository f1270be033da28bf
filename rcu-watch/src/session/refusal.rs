//! A run that cannot be: said in the stream too, so that a missing summary means that a run was cut short.

use anyhow::Error;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::header::Header;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::verdict::{Exit, Unsupported};

use crate::clock;
use crate::sink::Stream;
use crate::sink::options::Format;

/// Says `header` and a summary with the reasons; people get them as the error that comes back.
pub(crate) fn refuse(
    stream: &mut Stream,
    format: Format,
    header: Header,
    doing: &str,
    reasons: Vec<String>,
) -> Error {
    let error = Unsupported(format!("cannot {doing} this kernel:\n  {}", reasons.join("\n  ")));
    tell(stream, format, header, reasons).err().unwrap_or_else(|| error.into())
}

/// The same for what was found out later than the plan; other errors are passed on as they are.
pub(crate) fn refuse_if_unsupported(
    stream: &mut Stream,
    format: Format,
    header: Header,
    error: Error,
) -> Error {
    if !is_unsupported(&error) {
        return error;
    }
    tell(stream, format, header, vec![format!("{error:#}")]).err().unwrap_or(error)
}

fn tell(stream: &mut Stream, format: Format, header: Header, reasons: Vec<String>) -> anyhow::Result<()> {
    // On a terminal the error says it all.
    if format == Format::Text {
        return Ok(());
    }
    stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
    let summary = Summary {
        reasons,
        ..Summary::new(RunVerdict::Unsupported, Exit::Unsupported.code(), EndedBy::Refusal)
    };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    stream.finish(Exit::Unsupported)?;
    Ok(())
}

/// Whether this error says that the kernel or these privileges do not allow it.
#[must_use]
pub(crate) fn is_unsupported(error: &Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<Unsupported>)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{self, Write};
    use std::rc::Rc;

    use super::*;
    use crate::sink::json::Json;
    use rcu_watch_core::report::Baseline;
    use rcu_watch_core::report::header::Clock;
    use rcu_watch_core::units::RealtimeOffset;

    #[derive(Clone, Default)]
    struct Written(Rc<RefCell<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn header() -> Header {
        Header::new("watch", Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: RealtimeOffset(0) })
    }

    fn types(refuse: impl FnOnce(&mut Stream) -> Error) -> (Vec<String>, String) {
        let written = Written::default();
        let mut stream = Stream::new(Box::new(Json::new(written.clone())), Baseline::default());
        let error = refuse(&mut stream);
        let text = String::from_utf8(written.0.borrow().clone()).unwrap();
        let of = |line: &str| -> String {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["type"].as_str().unwrap().to_owned()
        };
        (text.lines().map(of).collect(), error.to_string())
    }

    #[test]
    fn what_calibration_refuses_has_a_header_and_a_summary() {
        let contradicted = || Unsupported("cannot judge this kernel: S=0x11".to_owned()).into();
        let (types, error) =
            types(|stream| refuse_if_unsupported(stream, Format::Json, header(), contradicted()));
        assert_eq!(types, ["header", "summary"]);
        assert_eq!(error, "cannot judge this kernel: S=0x11");
    }

    #[test]
    fn what_broke_is_no_refusal() {
        let (types, error) = types(|stream| {
            refuse_if_unsupported(stream, Format::Json, header(), anyhow::anyhow!("the disk is full"))
        });
        assert!(types.is_empty());
        assert_eq!(error, "the disk is full");
    }
}
