//! How commands ended, what they printed, and what files held.

use xtask::wire::Exit;

use super::super::super::console::Output;
use super::{Evidence, Verdict, ok_or};

pub(super) fn exit(evidence: &Evidence, run: &str, wanted: Exit) -> Verdict {
    let seen = evidence.command(run)?.exit;
    ok_or(seen == Some(wanted), || match seen {
        Some(seen) => format!("it ended with {}, and not with {}", seen.encode(), wanted.encode()),
        None => "it did not end".to_owned(),
    })
}

pub(super) fn exit_in(evidence: &Evidence, run: &str, codes: &[i32]) -> Verdict {
    let seen = evidence.command(run)?.exit;
    ok_or(codes.iter().any(|&code| seen == Some(Exit::Code(code))), || match seen {
        Some(seen) => format!("it ended with {}, and not with one of {codes:?}", seen.encode()),
        None => "it did not end".to_owned(),
    })
}

pub(super) fn unbroken(evidence: &Evidence, run: &'static str) -> Verdict {
    let unlucky = evidence.stream(run).is_ok_and(|stream| {
        let reasons = &stream.summary.reasons;
        !reasons.is_empty() && reasons.iter().all(|reason| reason.contains("recursion guard"))
    });
    exit(evidence, run, Exit::Code(if unlucky { 3 } else { 0 }))
}

pub(super) fn line(evidence: &Evidence, run: &str, has: &[&str]) -> Verdict {
    ok_or(first_line(evidence, run, has)?.is_some(), || format!("no line has all of {has:?}"))
}

pub(super) fn no_line(evidence: &Evidence, run: &str, has: &[&str]) -> Verdict {
    match first_line(evidence, run, has)? {
        Some(line) => Err(format!("a line has all of {has:?}: {line}")),
        None => Ok(()),
    }
}

pub(super) fn one_line(evidence: &Evidence, run: &str, has: &[&str]) -> Verdict {
    let stdout = String::from_utf8_lossy(&evidence.command(run)?.stdout).to_lowercase();
    let lines: Vec<&str> = stdout.lines().filter(|line| has_all(line, has)).collect();
    ok_or(lines.len() == 1, || format!("{} lines have all of {has:?}, and not one: {lines:?}", lines.len()))
}

/// The first line of what the command printed that has all of these words, whatever their case.
fn first_line(evidence: &Evidence, run: &str, has: &[&str]) -> Result<Option<String>, String> {
    let Output { stdout, stderr, .. } = evidence.command(run)?;
    let text = [stdout.as_slice(), b"\n", stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).to_lowercase();
    Ok(text.lines().find(|line| has_all(line, has)).map(str::to_owned))
}

/// `line` is in lower case.
fn has_all(line: &str, has: &[&str]) -> bool {
    has.iter().all(|word| line.contains(&word.to_lowercase()))
}

pub(super) fn same_output(evidence: &Evidence, run: &str, other: &str) -> Verdict {
    let (printed, expected) = (evidence.printed(run)?, evidence.printed(other)?);
    ok_or(!printed.is_empty() && printed == expected, || {
        format!("it printed {printed:?}, {other} {expected:?}")
    })
}

pub(super) fn without(evidence: &Evidence, file: &str, none_of: &[&str]) -> Verdict {
    let content = evidence.file(file)?;
    let found: Vec<&str> =
        content.lines().filter(|line| none_of.iter().any(|text| line.contains(text))).collect();
    ok_or(found.is_empty(), || format!("it holds {found:?}"))
}

pub(super) fn with(evidence: &Evidence, file: &str, text: &str) -> Verdict {
    let content = evidence.file(file)?;
    ok_or(content.contains(text), || format!("no {text:?} in {content:?}"))
}

pub(super) fn same(evidence: &Evidence, file: &str, other: &str) -> Verdict {
    let (content, expected) = (evidence.file(file)?, evidence.file(other)?);
    ok_or(content == expected, || format!("it is {content:?}, and {other} is {expected:?}"))
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::report::summary::Summary;

    use super::super::super::super::console::ScenarioRecord;
    use super::super::super::stream::tests::{stdout, summary};
    use super::super::{Check, Expect};
    use super::*;

    #[test]
    fn only_the_recursion_guard_excuses_an_inconclusive_run() {
        let ended = |code: i32, reasons: &[&str]| {
            let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
            let stdout = stdout(&[], Summary { reasons, ..summary() }).into_bytes();
            let output = Output { stdout, stderr: Vec::new(), exit: Some(Exit::Code(code)) };
            let mut record = ScenarioRecord::default();
            record.commands.insert("watch".into(), output);
            Expect::of("watch", Check::Unbroken).judge(&Evidence::of(&record), "sid").is_ok()
        };
        let (skipped, lost) = ("1 run was skipped by the kernel's recursion guard", "2 records were lost");
        assert!(ended(0, &[]));
        assert!(ended(3, &[skipped]));
        assert!(!ended(3, &[]));
        assert!(!ended(3, &[lost]));
        assert!(!ended(3, &[skipped, lost]));
        assert!(!ended(2, &[skipped]));
    }

    #[test]
    fn a_line_is_there_once_or_more_often_or_not_at_all() {
        let output = Output { stdout: b"f kprobe One\nf kprobe two\n".to_vec(), ..Output::default() };
        let mut record = ScenarioRecord::default();
        record.commands.insert("table".into(), output);
        let holds = |check| Expect::of("table", check).judge(&Evidence::of(&record), "sid").is_ok();
        assert!(holds(Check::OneLine(&["F", "one"])) && !holds(Check::OneLine(&["kprobe"])));
        assert!(holds(Check::Line(&["kprobe"])) && !holds(Check::Line(&["one", "two"])));
        assert!(holds(Check::NoLine(&["one", "two"])) && !holds(Check::NoLine(&["two"])));
    }

    #[test]
    fn one_of_several_codes_is_enough() {
        let mut record = ScenarioRecord::default();
        let output = Output { exit: Some(Exit::Code(3)), ..Output::default() };
        record.commands.insert("watch".into(), output);
        let holds = |codes| Expect::of("watch", Check::ExitIn(codes)).judge(&Evidence::of(&record), "sid");
        assert!(holds(&[3, 4]).is_ok() && holds(&[0, 2]).is_err() && holds(&[]).is_err());
    }
}
