//! From numbers to the table that people read: instructions above the bare work, ratios, and the goals.

use super::measured::Measured;
use super::plan::{Observer, Work};

/// Of `lab-work`.
const WARM_UP: i64 = 300;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    what: &'static str,
    empty: Option<f64>,
    ours: Option<f64>,
    theirs: Option<f64>,
    goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    /// At most this part of bpftrace's.
    Ratio(f64),
    /// At most this much above the empty program.
    Above(f64),
    /// At most this much.
    Most(f64),
    /// At least so many times bpftrace's.
    Times(f64),
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.filter(|theirs| *theirs > 0.0)?;
        Some(self.ours? / theirs)
    }

    /// How the goal is said, and whether it is met.
    fn verdict(&self) -> Option<(String, bool)> {
        Some(match self.goal? {
            Goal::Ratio(most) => (format!("{most} x bpftrace"), self.ratio()? <= most),
            Goal::Above(most) => (format!("empty + {most}"), self.ours? - self.empty? <= most),
            Goal::Most(most) => (format!("{most}"), self.ours? <= most),
            Goal::Times(least) => (format!("{least} x bpftrace"), self.ratio()? >= least),
        })
    }
}

/// A kernel's lines.
fn rows(of: &Measured) -> Vec<Row> {
    let (switch, call) = (Work::PingPong, Work::Prctl);
    let row = |what, work, empty, goal| Row {
        what,
        empty: above_bare(of, empty, work),
        ours: above_bare(of, Observer::Default, work),
        theirs: above_bare(of, Observer::BpftraceQuiet, work),
        goal,
    };
    let program = |observer, program: &str, name: &str| {
        of.of_program(observer, program, name).map(|value| value as f64)
    };
    let plain = |what, ours, theirs| Row { what, empty: None, ours, theirs, goal: None };
    let started = |observer| of.get(observer, "to_work").map(|value| value as f64 / 1e6);
    let resident = |observer| of.get(observer, "resident_kib").map(|value| value as f64 / 1024.0);
    let (ours, theirs) = (Observer::Default, Observer::BpftraceQuiet);
    let size =
        |what, name, their_name, of| plain(what, program(ours, name, of), program(theirs, their_name, of));
    let checkpoint =
        row("a context switch at rest", switch, Observer::EmptyTracepoint, Some(Goal::Ratio(0.4)));
    vec![
        checkpoint.clone(),
        Row { what: "the same, against the empty program", goal: Some(Goal::Above(150.0)), ..checkpoint },
        row("a call of a hooked function at rest", call, Observer::EmptyFunction, None),
        plain(
            "an idle hook at rest (its program alone)",
            program(ours, "rcuw_cpu_idle", "run"),
            program(theirs, "cpu_idle", "run"),
        ),
        Row {
            what: "a record sent and printed, kernel and user",
            empty: None,
            ours: end_to_end(of, Observer::All, call),
            theirs: end_to_end(of, Observer::BpftraceAll, call),
            goal: Some(Goal::Ratio(0.5)),
        },
        plain(
            "such records printed, of 8,000",
            printed(of, Observer::All, call),
            printed(of, Observer::BpftraceAll, call),
        ),
        Row {
            what: "such records a second, bpftrace's with `-f json`",
            empty: None,
            ours: end_to_end(of, Observer::All, call).map(|instructions| 1e9 / instructions),
            theirs: end_to_end(of, Observer::BpftraceJson, call).map(|instructions| 1e9 / instructions),
            goal: Some(Goal::Times(10.0)),
        },
        plain("a context switch, watchpoints always", above_bare(of, Observer::Always, switch), None),
        Row {
            what: "from exec to watching, millions",
            empty: None,
            ours: started(ours),
            theirs: started(theirs),
            goal: Some(Goal::Ratio(0.5)),
        },
        Row {
            what: "most memory resident, MiB",
            empty: None,
            ours: resident(ours),
            theirs: resident(theirs),
            goal: Some(Goal::Most(16.0)),
        },
        size("the checkpoint's program, BPF instructions", "rcuw_checkpoint", "sched_switch", "xlated"),
        size("the checkpoint's program, bytes of x86 code", "rcuw_checkpoint", "sched_switch", "jited"),
        size("a function's program, BPF instructions", "rcuw_fentry_00", "security_task", "xlated"),
        size("a function's program, bytes of x86 code", "rcuw_fentry_00", "security_task", "jited"),
    ]
}

/// What a hit costs while the work runs: all that ran then, less the same work with nobody looking on.
fn above_bare(of: &Measured, observer: Observer, work: Work) -> Option<f64> {
    let of_run = |observer| {
        let hits = of.of_work(observer, work, "hits")? as f64;
        Some(of.of_work(observer, work, "instructions")? as f64 / hits)
    };
    Some(of_run(observer)? - of_run(Observer::Nobody)?)
}

/// What a printed record costs, all hits and what the observer still had to do when the work was done included.
fn end_to_end(of: &Measured, observer: Observer, work: Work) -> Option<f64> {
    let hits = of.of_work(observer, work, "hits")? as f64;
    let after = of.of_work(observer, work, "observer_after")? as f64;
    Some((above_bare(of, observer, work)? * hits + after) / printed(of, observer, work)?)
}

/// How many of the hits there is a line for. Those that warmed up have one too.
fn printed(of: &Measured, observer: Observer, work: Work) -> Option<f64> {
    let hits = of.of_work(observer, work, "hits")?;
    let lines = of.get(observer, "events")? - WARM_UP;
    Some(lines.clamp(0, hits) as f64)
}

/// The table of some kernels, in Markdown.
pub(super) fn markdown(kernels: &[(String, Measured)]) -> String {
    let mut text = String::from(
        "| instructions per hit | kernel | empty program | rcu-watch | bpftrace | ratio | goal |\n\
         | --- | --- | ---: | ---: | ---: | ---: | --- |\n",
    );
    let all: Vec<Vec<Row>> = kernels.iter().map(|(_, measured)| rows(measured)).collect();
    for index in 0..all.first().map_or(0, Vec::len) {
        for ((release, _), rows) in kernels.iter().zip(&all) {
            let row = &rows[index];
            let goal = match row.verdict() {
                Some((goal, true)) => format!("{goal}: met"),
                Some((goal, false)) => format!("{goal}: **missed**"),
                None => String::new(),
            };
            let [empty, ours, theirs] = [row.empty, row.ours, row.theirs].map(number);
            let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let what = row.what;
            text.push_str(&format!(
                "| {what} | {release} | {empty} | {ours} | {theirs} | {ratio} | {goal} |\n"
            ));
        }
    }
    text
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| group(value.round() as i64))
}

/// 12,345
fn group(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_said_to_be_missed() {
        let row = Row { what: "", empty: Some(100.0), ours: Some(300.0), theirs: Some(1000.0), goal: None };
        let with = |goal| Row { goal: Some(goal), ..row.clone() }.verdict().unwrap();
        assert_eq!(with(Goal::Ratio(0.4)), ("0.4 x bpftrace".into(), true));
        assert_eq!(with(Goal::Above(150.0)), ("empty + 150".into(), false));
    }

    #[test]
    fn a_hit_costs_what_ran_beside_the_bare_work() {
        let mut measured = Measured::default();
        measured.read(
            "nobody pingpong hits 8000\nnobody pingpong instructions 51163456\n\
             empty-tracepoint pingpong hits 8000\nempty-tracepoint pingpong instructions 51991117\n\
             rcu-watch pingpong hits 8000\nrcu-watch pingpong instructions 53416070\n\
             bpftrace pingpong hits 8000\nbpftrace pingpong instructions 62036784\n\
             nobody prctl hits 8000\nnobody prctl instructions 9927185\n\
             rcu-watch-all prctl hits 8000\nrcu-watch-all prctl instructions 49927185\n\
             rcu-watch-all prctl observer_after 8000000\nrcu-watch-all events 8958\n\
             bpftrace-all prctl hits 8000\nbpftrace-all prctl instructions 59927185\n\
             bpftrace-all prctl observer_after 6000000\nbpftrace-all events 4300\n\
             bpftrace-json events 8300\n\
             bpftrace-json prctl hits 8000\nbpftrace-json prctl instructions 409927185\n\
             bpftrace-json prctl observer_after 0\n\
             rcu-watch resident_kib 17408\nbpftrace resident_kib 110592\n\
             rcu-watch program rcuw_checkpoint xlated 266\n",
        );
        let text = markdown(&[("6.1.0".to_owned(), measured)]);
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("| a context switch at rest | 6.1.0 | 103 | 282 | 1,359 | 0.21 | 0.4 x bpftrace: met |");
        has(
            "| the same, against the empty program | 6.1.0 | 103 | 282 | 1,359 | 0.21 | empty + 150: **missed** |",
        );
        has(
            "| a record sent and printed, kernel and user | 6.1.0 |  | 6,000 | 14,000 | 0.43 | 0.5 x bpftrace: met |",
        );
        has("| such records printed, of 8,000 | 6.1.0 |  | 8,000 | 4,000 | 2.00 |  |");
        has(
            "| such records a second, bpftrace's with `-f json` | 6.1.0 |  | 166,667 | 20,000 | 8.33 | 10 x bpftrace: **missed** |",
        );
        has("| most memory resident, MiB | 6.1.0 |  | 17 | 108 | 0.16 | 16: **missed** |");
        has("| the checkpoint's program, BPF instructions | 6.1.0 |  | 266 |  |  |  |");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([group(7), group(1234), group(-1_234_567)], ["7", "1,234", "-1,234,567"]);
    }
}
