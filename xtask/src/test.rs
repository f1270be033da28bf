//! `cargo xtask test`: everything, from set-up to guests, ending in one line of counts.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::ci;
use crate::dist;
use crate::lab;
use crate::process::say;
use crate::setup;
use crate::tally::Tally;

type Stage = Box<dyn Fn(&mut Tally) -> Result<()>>;

/// With the long scenarios too, or without; what they came to recorded, or not.
pub(crate) fn test(all: bool, record: bool) -> ExitCode {
    let start = Instant::now();
    let mut tally = Tally::default();
    let guests = move |tally: &mut Tally| guests(tally, all, record);
    let stages: [(&str, Stage); 4] = [
        ("set-up", Box::new(set_up)),
        ("checks", Box::new(checks)),
        ("dist", Box::new(dist)),
        ("lab", Box::new(guests)),
    ];
    for (stage, run) in stages {
        let stage_start = Instant::now();
        say(&format!("== {stage}"));
        if let Err(error) = run(&mut tally) {
            say(&format!("FAILED: {stage}: {error:#}"));
            tally.fail(format!("{stage}: {error:#}"));
        }
        say(&format!("== {stage} took {:.0} s", stage_start.elapsed().as_secs_f64()));
    }
    say(&format!("== all took {:.0} s", start.elapsed().as_secs_f64()));
    tally.say();
    if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn set_up(_: &mut Tally) -> Result<()> {
    setup::setup()
}

fn checks(tally: &mut Tally) -> Result<()> {
    tally.add(ci::check_all()?);
    Ok(())
}

fn dist(tally: &mut Tally) -> Result<()> {
    dist::dist()?;
    tally.passed += 1;
    Ok(())
}

fn guests(tally: &mut Tally, all: bool, record: bool) -> Result<()> {
    tally.add(lab::test_all(all, record)?);
    Ok(())
}
