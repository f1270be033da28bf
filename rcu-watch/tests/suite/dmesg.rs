//! The log parser over public reports: each file in tests/dmesg names its source and what it must give.

use std::path::Path;
use std::{env, fs};

use rcu_watch_core::dmesg::{Parser, Splat};

/// What `rcu-watch dmesg` makes of it.
fn parse(log: &str) -> Vec<Splat> {
    let mut parser = Parser::default();
    let mut splats: Vec<_> = log.lines().flat_map(|line| parser.line(line)).collect();
    splats.extend(parser.finish());
    splats.into_iter().map(Splat::alone).collect()
}

/// Name, expectations and log of every report.
fn reports() -> Vec<(String, Vec<String>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dmesg");
    let mut reports: Vec<_> = fs::read_dir(folder)
        .expect("the reports are there")
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            let text = fs::read_to_string(&path).expect("it is text");
            let (head, log): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("# "));
            assert!(head[0].starts_with("# source: "), "{path:?}");
            let expect = head.iter().filter_map(|line| line.strip_prefix("# expect: "));
            let expect = expect.filter(|expect| *expect != "none").map(str::to_owned).collect();
            (path.display().to_string(), expect, log.join("\n"))
        })
        .collect();
    reports.sort();
    reports
}

fn said(splat: &Splat, expect: &str) -> String {
    let mut said = format!("{} {}", splat.rule, splat.function);
    if let Some(cpu) = splat.cpu {
        said += &format!(" cpu={cpu}");
    }
    if expect.contains("handler=") {
        said += &format!(" handler={}", splat.handlers[0].name);
    }
    said
}

#[test]
fn each_public_report_maps_to_its_rule() {
    let reports = reports();
    assert!(reports.len() >= 12);
    for (name, expect, log) in reports {
        let splats = parse(&log);
        let said: Vec<_> = splats
            .iter()
            .enumerate()
            .map(|(i, splat)| said(splat, expect.get(i).map_or("", |e| e)))
            .collect();
        assert_eq!(said, expect, "{name}\n{splats:#?}");
    }
}

#[test]
fn reports_in_one_log_do_not_run_into_each_other() {
    let reports = reports();
    let all: Vec<_> = reports.iter().map(|(_, _, log)| log.as_str()).collect();
    let expected: usize = reports.iter().map(|(_, expect, _)| expect.len()).sum();
    assert_eq!(parse(&all.join("\n")).len(), expected);
}

#[test]
fn a_livepatch_on_the_stack_was_bypassed() {
    let log = "RCU not on for: arch_cpu_idle+0x0/0x40\n\
        WARNING: CPU: 2 PID: 0 at include/linux/trace_recursion.h:162 klp_ftrace_handler+0x1e6/0x230\n\
        Call Trace:\n klp_ftrace_handler+0x1e6/0x230\n arch_cpu_idle+0x5/0x40\n---[ end trace 0000 ]---\n";
    let splats = parse(log);
    assert_eq!((splats.len(), said(&splats[0], "handler=")), {
        (1, "RW008 arch_cpu_idle cpu=2 handler=klp_ftrace_handler".to_owned())
    });
}

#[test]
fn a_program_of_ours_on_the_stack_is_marked_as_ours() {
    let (_, _, log) =
        reports().into_iter().find(|(name, ..)| name.ends_with("own-fentry.log")).expect("it is there");
    let handlers = |log: &str| parse(log).remove(0).handlers;
    assert!(handlers(&log).iter().all(|handler| handler.ours));
    // A program of somebody else's, whatever it is called, is not.
    let foreign = parse(&log.replace("rcuw_fentry_00", "my_rcuwatch")).remove(0);
    assert!(foreign.handlers.iter().all(|handler| !handler.ours));
    assert_eq!(said(&foreign, ""), "RW001 arch_cpu_idle cpu=1");
}

#[test]
fn the_first_line_of_newer_warnings_is_read() {
    let log = "[    7.250000] WARNING: kernel/context_tracking.c:128 at ct_kernel_exit+0x98/0xa0, CPU#3: swapper/3/0\n";
    let splats = parse(log);
    assert_eq!(said(&splats[0], ""), "RW006 ct_kernel_exit cpu=3");
    assert_eq!(splats[0].ts.map(|ts| ts.0), Some(7_250_000_000));
}

#[test]
fn unknown_text_yields_nothing() {
    for text in [
        "",
        "Nothing happened today.\nWARNING: this is fine\n",
        "WARNING: CPU: 1 PID: 1436 at mm/page_alloc.c:4781 __alloc_pages+0x998/0x13e8\n---[ end trace ]---",
        "RCU used illegally from extended quiescent state!",
        "rcu: INFO: rcu_sched self-detected stall on CPU",
    ] {
        assert_eq!(parse(text), [], "{text}");
    }
}

#[test]
fn broken_text_neither_panics_nor_grows() {
    // Deterministic, so that a failure can be repeated: a linear congruential generator picks the damage.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    for (_, _, log) in reports() {
        for _ in 0..200 {
            let mut bytes = log.clone().into_bytes();
            for _ in 0..=random(20) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = u8::try_from(random(256)).expect("a byte"),
                    1 => drop(bytes.drain(at..(at + random(60)).min(bytes.len()))),
                    _ => bytes.insert(at, b"[]+/:.<>#\n"[random(10)]),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let splats = parse(&String::from_utf8_lossy(&bytes));
            assert!(splats.len() <= 8 && splats.iter().all(|splat| splat.stack.len() <= 128));
        }
    }
}
