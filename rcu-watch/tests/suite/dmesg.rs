//! The log parser over public reports: each file in tests/dmesg names its source and what it must give.

use std::path::Path;
use std::{env, fs};

use rcu_watch_core::Severity;
use rcu_watch_core::dmesg::{Parser, Splat};

/// What `rcu-watch dmesg` makes of it.
fn parse(log: &str) -> Vec<Splat> {
    let mut parser = Parser::default();
    let mut splats: Vec<_> = log.split_inclusive('\n').flat_map(|line| parser.line(line)).collect();
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
            // Some end their lines with CR LF.
            let (head, log): (Vec<_>, Vec<_>) = text.split('\n').partition(|line| line.starts_with("# "));
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
    if splat.consequence_of.is_some() {
        said += " consequence";
        assert_eq!(splat.severity, Severity::Info);
    }
    said
}

#[test]
fn each_public_report_maps_to_its_rule() {
    let reports = reports();
    assert!(reports.len() >= 65);
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
        "rcu: Hierarchical RCU implementation.\nrcu: \tRCU lockdep checking is enabled.\n",
        "INFO: task kworker/0:1:77 blocked for more than 120 seconds.",
    ] {
        assert_eq!(parse(text), [], "{text}");
    }
}

#[test]
fn a_splat_that_began_before_the_log_is_told_by_what_is_left_of_it() {
    for (log, expect) in [
        ("RCU used illegally from extended quiescent state!", "RW001 unknown"),
        ("RCU not watching for tracepoint", "RW013 unknown"),
        (
            "include/linux/rcupdate.h:850 rcu_read_lock() used illegally while idle!",
            "RW001 include/linux/rcupdate.h:850",
        ),
        (
            "kernel/notifier.c:586 notify_die called but RCU thinks we're quiescent!\nCall Trace:\n f+0x1/0x2\n",
            "RW001 f",
        ),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", "RW020 rcu_sched"),
    ] {
        let splats = parse(log);
        assert_eq!(splats.iter().map(|splat| said(splat, "")).collect::<Vec<_>>(), [expect], "{log}");
    }
}

#[test]
fn the_stack_of_a_stall_is_the_holders_and_not_that_of_the_thread_that_waits() {
    let log = "rcu: INFO: rcu_preempt self-detected stall on CPU\n\
        rcu: \t1-...!: (10350 ticks this GP) idle=d22/1/0x4000000000000000 softirq=1/1 fqs=34\n\
        rcu: RCU grace-period kthread stack dump:\n\
        task:rcu_preempt     state:R  running task     stack:28864 pid:   14 ppid:     2\n\
        Call Trace:\n __schedule+0x93a/0x26f0\n\
        NMI backtrace for cpu 0\nCPU: 0 PID: 5 Comm: x Not tainted 5.14.0 #0\nCall Trace:\n pv_wait+0x1/0x2\n\
        NMI backtrace for cpu 1\nCPU: 1 PID: 77 Comm: y Not tainted 5.14.0 #0\nCall Trace:\n bpf_prog_1_x+0x1/0x2\n";
    let [splat] = &parse(log)[..] else { panic!("one stall") };
    assert_eq!(said(splat, "handler="), "RW020 rcu_preempt cpu=1 handler=bpf_prog_1_x");
    assert_eq!(splat.stack, ["bpf_prog_1_x+0x1/0x2"]);
}

/// The lines of two logs in turn, each with its caller id.
fn interleaved(one: &[&str], other: &[&str]) -> String {
    let line =
        |(number, text): (usize, &&str), caller: &str| format!("[{number:5}.000000][{caller:>6}] {text}\n");
    let one = one.iter().enumerate().map(|part| line(part, "C6"));
    let mut other = other.iter().enumerate().map(|part| line(part, "T1436"));
    one.flat_map(|text| [Some(text), other.next()]).flatten().collect()
}

#[test]
fn two_writers_whose_lines_stand_between_each_other_are_told_apart_by_their_ids() {
    let idle = "WARNING: suspicious RCU usage|6.1.0 #1 Not tainted|include/trace/events/ipi.h:36 suspicious rcu_dereference_check() usage!|RCU used illegally from extended quiescent state!|stack backtrace:|CPU: 6 PID: 0 Comm: swapper/6 Not tainted 6.1.0 #1|Call Trace:| lockdep_rcu_suspicious+0x1/0x2| arch_cpu_idle+0x1/0x2| do_idle+0x1/0x2|";
    let task = "------------[ cut here ]------------|WARNING: CPU: 3 PID: 1436 at kernel/context_tracking.c:128 ct_kernel_exit+0x1/0x2|Modules linked in:|CPU: 3 PID: 1436 Comm: x Not tainted 6.1.0 #1|Call Trace:| ct_idle_enter+0x1/0x2| vfs_write+0x1/0x2| do_syscall_64+0x1/0x2|---[ end trace 0000000000000000 ]---|kernel BUG at mm/slub.c:301!|Call Trace:| kfree+0x1/0x2";
    let (idle, task): (Vec<_>, Vec<_>) = (idle.split('|').collect(), task.split('|').collect());
    let mut told: Vec<_> = parse(&interleaved(&idle, &task)).iter().map(|splat| said(splat, "")).collect();
    told.sort();
    assert_eq!(told, ["RW001 arch_cpu_idle cpu=6", "RW006 ct_kernel_exit cpu=3"]);
}

#[test]
fn a_crash_after_a_splat_is_not_part_of_it() {
    let (_, _, log) =
        reports().into_iter().find(|(name, ..)| name.ends_with("form-no-time.log")).expect("it is there");
    let splat = log.split("------------[ cut").next().expect("the first splat").trim_end();
    for crash in [
        "kernel BUG at mm/slub.c:301!",
        "BUG: unable to handle page fault",
        "Oops: 0010 [#1] SMP",
        "Unable to handle kernel paging request",
    ] {
        let log = format!(
            "{splat}\n{crash}\nCPU: 1 PID: 4242 Comm: iperf3 Tainted: G        W         5.10.132 #1\nRIP: 0010:kfree+0x1/0x2\nCall Trace:\n bpf_prog_1_x+0x1/0x2\n asm_exc_invalid_op+0x1/0x2\n f+0x1/0x2\n"
        );
        let [splat] = &parse(&log)[..] else { panic!("{crash}") };
        assert_eq!(
            (said(splat, ""), splat.stack.len()),
            ("RW001 intel_idle_ibrs cpu=6".to_owned(), 6),
            "{crash}"
        );
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
            assert!(splats.len() <= 16 && splats.iter().all(|splat| splat.stack.len() <= 128));
        }
    }
}
