//! QEMU's monitor, by its machine protocol (QMP): what only the owner of a machine can do to it.
//!
//! QEMU greets, we choose no capability, and from then on each command has one answer. Events come in between and say
//! nothing that we ask for; how a guest ends is seen on its console. The hard thing is an end in the middle of a command:
//! a QEMU that is gone answers no more, and that is no error of the lab.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use qapi_spec::{Command, Empty, Execute, Response};
use serde::Serialize;
use serde_json::Value;

/// A busy machine that emulates another takes its time.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection that is ready for commands.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

/// Ends the negotiation, without asking for anything.
#[derive(Debug, Serialize)]
struct QmpCapabilities {}

impl Command for QmpCapabilities {
    const NAME: &'static str = "qmp_capabilities";
    const ALLOW_OOB: bool = false;
    type Ok = Empty;
}

/// On every CPU of a PC.
#[derive(Debug, Serialize)]
struct InjectNmi {}

impl Command for InjectNmi {
    const NAME: &'static str = "inject-nmi";
    const ALLOW_OOB: bool = false;
    type Ok = Empty;
}

impl Monitor {
    /// Over a socket that QEMU has just connected to.
    pub(crate) fn open(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        let greeting = monitor.line().context("QEMU's monitor says nothing")?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU's monitor greets with {greeting}");
        }
        monitor.execute(QmpCapabilities {}).context("QEMU's monitor took no greeting")?;
        Ok(monitor)
    }

    /// Does what the guest's plan asks for.
    pub(crate) fn play(&mut self, action: &str) -> Result<()> {
        let outcome = match action {
            "nmi" => self.execute(InjectNmi {}),
            _ => bail!("a plan asks for {action:?}, which the monitor is not asked for; there is nmi"),
        };
        match outcome.map_err(anyhow::Error::downcast::<io::Error>) {
            Ok(_) => Ok(()),
            Err(Ok(error)) if is_gone(&error) => Ok(()),
            Err(Ok(error)) => Err(error).context("QEMU's monitor does not answer"),
            Err(Err(error)) => Err(error),
        }
    }

    fn execute<C: Command>(&mut self, command: C) -> Result<C::Ok> {
        let mut line = serde_json::to_vec(&Execute::<C>::with_command(command))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        loop {
            let said = self.line()?;
            if said.get("event").is_none() {
                let response: Response<C::Ok> = serde_json::from_value(said)?;
                return response.result().with_context(|| format!("QEMU refuses {}", C::NAME));
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU's monitor says {line:?}"))
    }
}

/// The other end of the socket was closed.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use super::*;

    const GREETING: &str =
        r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": []}}"#;
    const DONE: &str = r#"{"return": {}}"#;

    /// A QEMU that says its greeting and then, to each command, the next of its answers; it gives what it was told.
    fn qemu(answers: &'static [&'static str]) -> (UnixStream, JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let play = move || {
            let mut heard = Vec::new();
            let mut lines = BufReader::new(theirs);
            writeln!(lines.get_mut(), "{GREETING}").unwrap();
            for answer in answers {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap() == 0 {
                    break;
                }
                heard.push(serde_json::from_str(&line).unwrap());
                writeln!(lines.get_mut(), "{answer}").unwrap();
            }
            heard
        };
        (ours, thread::spawn(play))
    }

    #[test]
    fn an_nmi_is_asked_for_and_events_in_between_are_no_answer() {
        const EVENT: &str = "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 0}, \"timestamp\": {\"seconds\": 1}}\n\
                             {\"return\": {}}";
        let (stream, qemu) = qemu(&[DONE, EVENT, DONE]);
        let mut monitor = Monitor::open(stream).unwrap();
        monitor.play("nmi").unwrap();
        monitor.play("nmi").unwrap();
        let heard = qemu.join().unwrap();
        let names: Vec<_> = heard.iter().map(|command| command["execute"].as_str().unwrap()).collect();
        assert_eq!(names, ["qmp_capabilities", "inject-nmi", "inject-nmi"]);
    }

    #[test]
    fn a_refusal_is_an_error_that_says_why() {
        let (stream, qemu) = qemu(&[DONE, r#"{"error": {"class": "GenericError", "desc": "no NMI here"}}"#]);
        let mut monitor = Monitor::open(stream).unwrap();
        let error = format!("{:#}", monitor.play("nmi").unwrap_err());
        assert!(error.contains("inject-nmi") && error.contains("no NMI here"), "{error}");
        assert!(monitor.play("quit").is_err());
        qemu.join().unwrap();
    }

    #[test]
    fn a_qemu_that_is_gone_is_no_error_and_one_that_does_not_greet_is() {
        let (stream, qemu) = qemu(&[DONE]);
        let mut monitor = Monitor::open(stream).unwrap();
        qemu.join().unwrap();
        monitor.play("nmi").unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"(qemu) \n").unwrap();
        assert!(Monitor::open(ours).is_err());
    }
}
