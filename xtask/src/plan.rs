//! The plan: what the guest's PID 1 does, step by step, as a text file in the initramfs.
//!
//! One step a line, fields separated by tabs; a tab, a line end or a backslash in a field is escaped, so that any
//! argument of a command survives.

use std::time::Duration;

/// Where PID 1 finds the plan.
pub const PLAN_PATH: &str = "/lab/plan";
/// Where the scenarios' kernel modules are.
pub const MODULES_DIR: &str = "/lab/modules";

/// One step. A step that fails is reported and the plan goes on: the scenario's expectations judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What follows belongs to the scenario of this name.
    Scenario {
        name: String,
    },
    /// Run to the end; killed at the limit.
    Run {
        label: String,
        limit: Duration,
        argv: Vec<String>,
    },
    /// Start and go on.
    Spawn {
        label: String,
        argv: Vec<String>,
    },
    /// Until a started command has printed this so many times.
    Await {
        label: String,
        text: String,
        times: usize,
        limit: Duration,
    },
    Signal {
        label: String,
        signal: i32,
    },
    /// Until a started command has ended; killed at the limit.
    Wait {
        label: String,
        limit: Duration,
    },
    Sleep {
        time: Duration,
    },
    LoadModule {
        name: String,
        params: String,
    },
    UnloadModule {
        name: String,
    },
    WriteFile {
        path: String,
        value: String,
    },
    /// Send a file's content to the host.
    ReadFile {
        label: String,
        path: String,
    },
    /// Until a file's content, trimmed, is this; "" stands for a file that is gone.
    Until {
        path: String,
        value: String,
        limit: Duration,
    },
    /// Put an empty file over a file, as a kernel without it would look.
    Hide {
        path: String,
    },
    Unhide {
        path: String,
    },
    /// Something that only the host can do to the machine: `nmi`.
    Monitor {
        command: String,
    },
}

impl Step {
    #[must_use]
    pub fn encode(&self) -> String {
        let ms = |time: &Duration| time.as_millis().to_string();
        let mut fields: Vec<String> = Vec::new();
        let mut set = |verb: &str, rest: &[&str]| {
            fields.push(verb.to_owned());
            fields.extend(rest.iter().map(|field| escape(field)));
        };
        match self {
            Self::Scenario { name } => set("scenario", &[name]),
            Self::Run { label, limit, argv } => {
                set("run", &[label, &ms(limit)]);
                fields.extend(argv.iter().map(|arg| escape(arg)));
            }
            Self::Spawn { label, argv } => {
                set("spawn", &[label]);
                fields.extend(argv.iter().map(|arg| escape(arg)));
            }
            Self::Await { label, text, times, limit } => {
                set("await", &[label, text, &times.to_string(), &ms(limit)]);
            }
            Self::Signal { label, signal } => set("signal", &[label, &signal.to_string()]),
            Self::Wait { label, limit } => set("wait", &[label, &ms(limit)]),
            Self::Sleep { time } => set("sleep", &[&ms(time)]),
            Self::LoadModule { name, params } => set("load-module", &[name, params]),
            Self::UnloadModule { name } => set("unload-module", &[name]),
            Self::WriteFile { path, value } => set("write", &[path, value]),
            Self::ReadFile { label, path } => set("read", &[label, path]),
            Self::Until { path, value, limit } => set("until", &[path, value, &ms(limit)]),
            Self::Hide { path } => set("hide", &[path]),
            Self::Unhide { path } => set("unhide", &[path]),
            Self::Monitor { command } => set("monitor", &[command]),
        }
        fields.join("\t")
    }

    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(unescape);
        let verb = fields.next()?;
        let mut next = || fields.next();
        let ms = |field: Option<String>| Some(Duration::from_millis(field?.parse().ok()?));
        Some(match verb.as_str() {
            "scenario" => Self::Scenario { name: next()? },
            "run" => Self::Run { label: next()?, limit: ms(next())?, argv: fields.collect() },
            "spawn" => Self::Spawn { label: next()?, argv: fields.collect() },
            "await" => Self::Await {
                label: next()?,
                text: next()?,
                times: next()?.parse().ok()?,
                limit: ms(next())?,
            },
            "signal" => Self::Signal { label: next()?, signal: next()?.parse().ok()? },
            "wait" => Self::Wait { label: next()?, limit: ms(next())? },
            "sleep" => Self::Sleep { time: ms(next())? },
            "load-module" => Self::LoadModule { name: next()?, params: next()? },
            "unload-module" => Self::UnloadModule { name: next()? },
            "write" => Self::WriteFile { path: next()?, value: next()? },
            "read" => Self::ReadFile { label: next()?, path: next()? },
            "until" => Self::Until { path: next()?, value: next()?, limit: ms(next())? },
            "hide" => Self::Hide { path: next()? },
            "unhide" => Self::Unhide { path: next()? },
            "monitor" => Self::Monitor { command: next()? },
            _ => return None,
        })
    }

    /// How long the step may take at most, beside what the machine needs.
    #[must_use]
    pub fn limit(&self) -> Duration {
        match self {
            Self::Run { limit, .. }
            | Self::Await { limit, .. }
            | Self::Wait { limit, .. }
            | Self::Until { limit, .. } => *limit,
            Self::Sleep { time } => *time,
            _ => Duration::ZERO,
        }
    }
}

fn escape(field: &str) -> String {
    field.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(other)) => text.push(other),
            (c, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_its_line() {
        let second = Duration::from_secs(1);
        let steps = [
            Step::Scenario { name: "clean".into() },
            Step::Run {
                label: "sh".into(),
                limit: second,
                argv: vec!["sh".into(), "-c".into(), "a\tb\n\\n\\".into()],
            },
            Step::Spawn { label: "watch".into(), argv: vec!["rcu-watch".into()] },
            Step::Await { label: "watch".into(), text: "watching:".into(), times: 2, limit: second },
            Step::Signal { label: "watch".into(), signal: 9 },
            Step::Wait { label: "watch".into(), limit: second },
            Step::Sleep { time: second },
            Step::LoadModule { name: "m".into(), params: String::new() },
            Step::UnloadModule { name: "m".into() },
            Step::WriteFile { path: "/p".into(), value: "0".into() },
            Step::ReadFile { label: "l".into(), path: "/p".into() },
            Step::Until { path: "/p".into(), value: String::new(), limit: second },
            Step::Hide { path: "/p".into() },
            Step::Unhide { path: "/p".into() },
            Step::Monitor { command: "nmi".into() },
        ];
        for step in steps {
            assert_eq!(Step::parse(&step.encode()), Some(step));
        }
    }

    #[test]
    fn a_step_with_a_missing_field_is_refused() {
        assert_eq!(Step::parse("until\t/p\t0"), None);
        assert_eq!(Step::parse("levitate\tnow"), None);
    }
}
