//! Livepatches, as text that can be pasted into a report: no line is wider than 100 columns.

use rcu_watch_core::condition::transition::target;
use rcu_watch_core::report::finding::Holder;
use rcu_watch_core::report::patches::{
    Forced, ForcedSource, ObjectState, PatchTransition, PatchedFunction, PatchedObject, Since,
};
use rcu_watch_core::report::summary::RunVerdict;
use rcu_watch_core::report::{Header, PatchReport, Summary};
use rcu_watch_core::units::Nanos;

use crate::sink::text::phrase;
use crate::sink::text::style::Style;

const COLUMNS: usize = 100;

pub(super) fn title(header: &Header) -> String {
    format!("{} {} on {}", header.tool, header.version, header.kernel.release)
}

pub(super) fn lines(patch: &PatchReport, verbose: bool, style: Style) -> Vec<String> {
    let mut lines = vec![head(patch, style)];
    lines.extend(patch.objects.iter().flat_map(object));
    for function in patch.objects.iter().flat_map(|object| &object.functions) {
        lines.extend(stacked(function));
    }
    if let Some(forced) = &patch.forced {
        lines.extend(was_forced(forced, style));
    }
    if let Some(transition) = &patch.transition {
        lines.extend(tasks(transition));
        lines.extend(transition.holders.iter().flat_map(|holder| held_by(holder, style)));
    }
    let is_of_tasks = |reason: &&String| reason.contains(" tasks");
    let unknown = patch.unknown.iter().filter(|reason| verbose || is_of_tasks(reason));
    lines.extend(unknown.flat_map(|reason| wrap(4, &format!("not known: {reason}"))));
    lines
}

/// `livepatch_sample: enabled, in transition to the patched functions for 35 s: STALLED`
fn head(patch: &PatchReport, style: Style) -> String {
    let replaces = if patch.replace == Some(true) { ", replaces all before it" } else { "" };
    let state = match &patch.transition {
        None if patch.enabled => style.good("enabled"),
        None => "disabled".to_owned(),
        Some(PatchTransition { to_patched, age_ns, since, stalled, .. }) => {
            // Where a transition was met, and not seen to begin, it may be older than what is known of it.
            let age = match since {
                Since::Log => seconds(*age_ns),
                _ if phrase::seconds(*age_ns) == 0 => "an unknown time".to_owned(),
                _ => format!("at least {}", seconds(*age_ns)),
            };
            let moving = format!("in transition to the {} functions for {age}", target(*to_patched));
            if *stalled { style.bad(&format!("{moving}: STALLED")) } else { style.doubtful(&moving) }
        }
    };
    format!("{}: {state}{replaces}", patch.patch)
}

fn object(object: &PatchedObject) -> Vec<String> {
    let PatchedObject { object, state, functions } = object;
    let note = match state {
        ObjectState::Patched | ObjectState::Loaded => "",
        ObjectState::Unpatched => " (not patched)",
        ObjectState::Waiting => " (not loaded: patched when it is)",
    };
    let name = |function: &PatchedFunction| match function.sympos {
        0 | 1 => function.function.clone(),
        sympos => format!("{},{sympos}", function.function),
    };
    let functions: Vec<String> = functions.iter().map(name).collect();
    wrap(4, &format!("{object}{note}: {}", functions.join(", ")))
}

/// Only where there is something to be on top of.
fn stacked(function: &PatchedFunction) -> Vec<String> {
    match function.stack.as_slice() {
        [top, below @ ..] if !below.is_empty() => {
            wrap(4, &format!("on {}: {top} on top of {}", function.function, below.join(", ")))
        }
        _ => Vec::new(),
    }
}

fn was_forced(forced: &Forced, style: Style) -> Vec<String> {
    let by = match forced.by {
        ForcedSource::Log => "by the kernel's log",
        ForcedSource::Stack => "by the stacks of its tasks",
    };
    let at = phrase::at((forced.ts_ns, None));
    let text = format!("its transition was FORCED at {at}, {by}: old and new functions may run at once");
    let mut lines: Vec<String> = wrap(4, &text).iter().map(|line| style.bad(line)).collect();
    lines.extend(forced.holders.iter().flat_map(|holder| held_by(holder, style)));
    lines
}

fn tasks(transition: &PatchTransition) -> Vec<String> {
    let PatchTransition { since, tasks, holders, holding, sees_all, .. } = transition;
    let since = match since {
        Since::Log => "the kernel's log says when it began",
        Since::Loaded => "it has been loaded for so long, and the log does not say when it began",
        Since::Seen => "seen for so long; the log does not say when it began",
    };
    let mut text =
        format!("tasks: {} moved, {} not", phrase::count(transition.moved()), phrase::count(*holding));
    if tasks.unread > 0 {
        text += &format!(", {} not readable", phrase::count(tasks.unread));
    }
    let named = holders.iter().filter(|holder| holder.task.is_some()).count() as u64;
    if *holding > named {
        text += &format!(" ({named} of them below)");
    }
    if *holding == 0 && *sees_all && holders.is_empty() {
        text += "; an idle task may hold it, or it is about to end";
    }
    wrap(4, &format!("{text}; {since}"))
}

fn held_by(holder: &Holder, style: Style) -> Vec<String> {
    let Holder { task, state, function, since_ns, help, stack, .. } = holder;
    let mut text = "held by".to_owned();
    if let Some(task) = task {
        text += &format!(" {}[{}]", task.comm, task.pid);
    }
    if let Some(since) = since_ns {
        text += &format!(" for {}", seconds(*since));
    }
    text += &format!(": {state}");
    if let Some(function) = function {
        text += &format!(" in {function}");
    }
    let mut lines = wrap(4, &text);
    lines.extend(help.iter().flat_map(|help| wrap(6, help)));
    lines.extend(stack.iter().map(|frame| style.faint(&format!("        {}", frame.label()))));
    lines
}

/// The last lines: what the exit code says.
pub(super) fn end(summary: &Summary, patches: u64, style: Style) -> Vec<String> {
    match summary.verdict {
        RunVerdict::Clean if patches == 0 => vec!["no livepatch is loaded".to_owned()],
        RunVerdict::Clean => {
            let all = if patches == 1 { "1 livepatch".to_owned() } else { format!("{patches} livepatches") };
            let ends = summary.reasons.iter().map(|reason| format!("; {reason}"));
            vec![style.good(&format!("{all}, nothing stalled{}", ends.collect::<String>()))]
        }
        RunVerdict::Findings => summary.reasons.iter().map(|reason| style.bad(reason)).collect(),
        _ => summary.reasons.iter().map(|reason| style.doubtful(reason)).collect(),
    }
}

fn seconds(time: Nanos) -> String {
    match phrase::seconds(time) {
        0 => "less than 1 s".to_owned(),
        seconds @ 1..120 => format!("{seconds} s"),
        _ => phrase::clock(time),
    }
}

/// Lines of `text`, indented, broken at blanks; a word that is too long stays whole.
fn wrap(indent: usize, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if width + 1 + length <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
                width += 1 + length;
            }
            last => {
                let indent = if last.is_none() { indent } else { indent + 4 };
                lines.push(format!("{:indent$}{word}", ""));
                width = indent + length;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::report::finding::{StackFrame, TaskReport};
    use rcu_watch_core::report::patches::TaskStates;
    use rcu_watch_core::report::summary::EndedBy;

    use super::*;

    #[test]
    fn a_long_line_is_broken_at_a_blank_and_what_follows_is_further_in() {
        let functions = ["a_function_with_a_name"; 12].join(", ");
        let lines = wrap(4, &functions);
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS));
        assert!(lines[0].starts_with("    a_") && lines[1].starts_with("        a_"));
        assert_eq!(lines.join(" ").split_whitespace().count(), 12);
    }

    fn holder() -> Holder {
        let frame = |symbol: &str| StackFrame { address: None, symbol: Some(symbol.into()) };
        Holder {
            task: Some(TaskReport { pid: 113, tgid: 113, comm: "lp_sleeper".into(), idle: false }),
            state: "kthread, sleeps".into(),
            function: Some("f".into()),
            since_ns: Some(Nanos(35_000_000_000)),
            help: Some("it must return from f; if it never does, stop what runs this kthread".into()),
            stack: vec![frame("msleep+0x2d"), frame("f+0x1c")],
            ..Holder::default()
        }
    }

    fn patch() -> PatchReport {
        let function = |name: &str, sympos, stack: &[&str]| PatchedFunction {
            function: name.into(),
            sympos,
            stack: stack.iter().map(ToString::to_string).collect(),
        };
        let object = |name: &str, state, functions| PatchedObject { object: name.into(), state, functions };
        PatchReport {
            patch: "lp".into(),
            enabled: true,
            replace: Some(true),
            order: None,
            objects: vec![
                object("nft", ObjectState::Waiting, vec![function("show", 2, &["lp"])]),
                object("vmlinux", ObjectState::Patched, vec![function("f", 1, &["lp", "old"])]),
            ],
            transition: Some(PatchTransition {
                to_patched: true,
                age_ns: Nanos(35_000_000_000),
                since: Since::Log,
                stalled: true,
                tasks: TaskStates { patched: 1412, original: 3, ..TaskStates::default() },
                sees_all: true,
                holders: vec![holder()],
                holding: 3,
            }),
            forced: None,
            unknown: vec!["order: x".into(), "the stacks of 2 tasks: closed; run as root".into()],
        }
    }

    #[test]
    fn a_stalled_transition_reads_like_this() {
        let text = lines(&patch(), false, Style::default()).join("\n");
        assert_eq!(
            text,
            "\
lp: in transition to the patched functions for 35 s: STALLED, replaces all before it
    nft (not loaded: patched when it is): show,2
    vmlinux: f
    on f: lp on top of old
    tasks: 1,412 moved, 3 not (1 of them below); the kernel's log says when it began
    held by lp_sleeper[113] for 35 s: kthread, sleeps in f
      it must return from f; if it never does, stop what runs this kthread
        msleep+0x2d
        f+0x1c
    not known: the stacks of 2 tasks: closed; run as root"
        );
    }

    #[test]
    fn a_forced_transition_does_not_read_like_one_that_is_complete() {
        let forced = Forced { ts_ns: Nanos(41_000_000_000), by: ForcedSource::Log, holders: vec![holder()] };
        let patch = PatchReport { transition: None, forced: Some(forced), ..patch() };
        let text = lines(&patch, false, Style::default()).join("\n");
        assert!(text.starts_with("lp: enabled, replaces all before it\n"), "{text}");
        assert!(text.contains("its transition was FORCED at [   41.000000], by the kernel's log"), "{text}");
        assert!(text.contains("held by lp_sleeper[113]"), "{text}");
    }

    #[test]
    fn the_last_line_says_what_the_exit_code_says() {
        let end = |verdict, reasons: &[&str], patches| {
            let reasons = reasons.iter().map(ToString::to_string).collect();
            let summary = Summary { reasons, ..Summary::new(verdict, 0, EndedBy::Listed) };
            end(&summary, patches, Style::default()).join("\n")
        };
        assert_eq!(end(RunVerdict::Clean, &[], 0), "no livepatch is loaded");
        assert_eq!(end(RunVerdict::Clean, &["lp: done"], 1), "1 livepatch, nothing stalled; lp: done");
        assert_eq!(end(RunVerdict::Findings, &["lp: stalled"], 2), "lp: stalled");
    }
}
