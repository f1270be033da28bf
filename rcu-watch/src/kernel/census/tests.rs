//! Captured lists of 5.10, 6.1 and 6.12, and what the census makes of them.

use rcu_watch_core::probe::Reliance;
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerList, HandlerState, HookKind, Place};

use super::source::Sources;
use super::{Census, of};
use crate::kernel::read::event::{EventKind, ProbeEvent};
use crate::kernel::read::ftrace::each_enabled;
use crate::kernel::read::holder::{Holders, Process};
use crate::kernel::read::kprobe;
use crate::kernel::read::kprobe_table::Registered;
use crate::kernel::read::livepatch::{Livepatch, PatchedFunction};
use crate::kernel::read::pin::Pins;
use crate::kernel::read::program::BpfObjects;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::SymbolTable;
use crate::kernel::read::tracer::{SetUpBy, Tracer};
use crate::sys::bpf::bpf_prog_type;
use crate::sys::bpf::link::{Link, LinkedTo, Trampoline};
use crate::sys::bpf::program::LoadedProgram;

const KALLSYMS: &str = "\
ffffffff81000000 T _text
ffffffff8101c780 T loadavg_proc_show
ffffffff8101dbe0 T uptime_proc_show
ffffffff8101ddd0 T version_proc_show
ffffffff81870000 t show
ffffffff81880000 t show
ffffffff81890000 t kprobe_dispatcher
ffffffff818356d0 T arch_cpu_idle
ffffffffc02a4000 t demo_entry\t[demo]
ffffffffc02a5000 t demo_callback\t[demo]
";

/// What the lists say, as text that the kernel printed.
#[derive(Default)]
struct Lists<'a> {
    kprobes: &'a str,
    registered: Vec<Registered>,
    enabled: &'a str,
    events: Vec<ProbeEvent>,
    tracers: Vec<Tracer>,
    livepatched: &'a [(&'a str, &'a str, u32)],
    programs: BpfObjects,
    holders: Holders,
}

impl Lists<'_> {
    fn sources(self) -> Sources {
        let functions = self.livepatched.iter().map(|&(object, function, sympos)| PatchedFunction {
            patch: "fix".to_owned(),
            object: object.to_owned(),
            function: function.to_owned(),
            sympos,
        });
        let patch = Livepatch {
            name: "fix".to_owned(),
            enabled: true,
            in_transition: false,
            replace: None,
            functions: functions.collect(),
            inode: 1,
        };
        let mut enabled = Vec::new();
        each_enabled(self.enabled.as_bytes(), |function| enabled.push(function)).unwrap();
        Sources {
            livepatches: Ok(vec![patch]),
            kprobes: Ok(kprobe::read(self.kprobes.as_bytes()).unwrap()),
            registered: Ok(self.registered),
            events: Ok(self.events),
            enabled: Ok(enabled),
            symbols: Ok(SymbolTable::read(KALLSYMS.as_bytes()).unwrap()),
            tracers: self.tracers,
            uprobes: 0,
            switches: Switches::default(),
            fprobe_looks_first: false,
            modules: std::iter::once("demo".to_owned()).collect(),
            programs: Ok(self.programs),
            holders: self.holders,
            pins: Pins::default(),
            has_debugfs: true,
            read_any: true,
        }
    }

    fn census(self) -> Census {
        of(&self.sources())
    }
}

fn event(kind: EventKind, label: &str, symbol: &str, offset: u64) -> ProbeEvent {
    let (group, name) = label.split_once('/').unwrap();
    ProbeEvent {
        kind,
        group: group.to_owned(),
        name: name.to_owned(),
        symbol: symbol.to_owned(),
        module: None,
        offset,
        on_in: Vec::new(),
        by_perf: None,
        counts: None,
    }
}

fn tracer(callback: &'static str, instance: Option<&str>, functions: Option<&[&str]>) -> Tracer {
    Tracer {
        callback,
        functions: functions.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        set_up_by: SetUpBy::Instance(instance.map(str::to_owned)),
        records: true,
    }
}

fn owner(handler: &HandlerReport) -> String {
    handler.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Kind, name, `function,sympos+offset` and owner of each.
fn told(census: &Census) -> Vec<String> {
    census
        .handlers
        .iter()
        .map(|h| {
            let function = h.function.as_deref().unwrap_or("*");
            let sympos = h.sympos.map(|n| format!(",{n}")).unwrap_or_default();
            let offset = h.offset.map(|n| format!("+{n:#x}")).unwrap_or_default();
            format!("{} {} {function}{sympos}{offset} {}", h.kind.name(), h.name, owner(h))
        })
        .collect()
}

#[test]
fn a_probe_of_perf_is_told_by_its_event_and_the_rest_by_their_places() {
    // 6.12: `_text+N` is how perf probe names a function; with endbr64 the site is 4 bytes behind the start.
    let census = Lists {
        kprobes: "\
ffffffff818356d4  k  arch_cpu_idle+0x4    [FTRACE]
ffffffff818356d4  k  arch_cpu_idle+0x4    [DISABLED][FTRACE]
ffffffff8101ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8101dbe4  r  uptime_proc_show+0x4    [FTRACE]
",
        events: vec![
            event(EventKind::Kprobe, "probe/arch_cpu_idle", "_text", 0x83_56d0),
            event(EventKind::Kretprobe, "kprobes/uptime", "uptime_proc_show", 0),
        ],
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "kprobe arch_cpu_idle+0x4 arch_cpu_idle -",
            "kprobe probe/arch_cpu_idle arch_cpu_idle tracefs",
            "kretprobe kprobes/uptime uptime_proc_show tracefs",
            "kprobe version_proc_show+0x9 version_proc_show+0x9 -",
        ]
    );
    let [off, live, ret, inside] = census.handlers.as_slice() else { panic!() };
    assert_eq!((off.state, live.state), (HandlerState::Off, HandlerState::Alive));
    assert_eq!((live.place, ret.place, inside.place), (Place::Entry, Place::Return, Place::Offset));
    assert_eq!(live.address.unwrap().0, 0xffff_ffff_8183_56d0);
}

fn registered(address: u64, handler: u64) -> Registered {
    Registered { address, is_return: false, handlers: vec![handler], missed: 3 }
}

#[test]
fn a_kprobe_that_no_list_names_is_of_the_module_that_it_calls() {
    let census = Lists {
        kprobes: "\
ffffffff818356d4  k  arch_cpu_idle+0x4    [FTRACE]
ffffffff818356d4  k  arch_cpu_idle+0x4    [FTRACE]
ffffffff8101ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8101dbe4  k  uptime_proc_show+0x4    [FTRACE]
",
        events: vec![event(EventKind::Kprobe, "probe/arch_cpu_idle", "arch_cpu_idle", 0)],
        registered: vec![
            registered(0xffff_ffff_8183_56d4, 0xffff_ffff_c02a_5000),
            registered(0xffff_ffff_8183_56d4, 0xffff_ffff_8189_0000),
            // Another kprobe than the list had, at another place.
            registered(0xffff_ffff_8101_dddd, 0xffff_ffff_c02a_5000),
            registered(0xffff_ffff_8101_dbe4, 0xffff_ffff_8189_0000),
        ],
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "kprobe arch_cpu_idle+0x4 arch_cpu_idle module demo",
            "kprobe probe/arch_cpu_idle arch_cpu_idle tracefs",
            "kprobe uptime_proc_show+0x4 uptime_proc_show -",
            "kprobe version_proc_show+0x9 version_proc_show+0x9 -",
        ]
    );
    let because = |index: usize| census.handlers[index].because.as_deref();
    assert_eq!(because(0), Some("calls demo_callback [demo]"));
    assert_eq!(because(2), Some("of perf or of a BPF program"));
    assert_eq!((census.handlers[0].misses, census.handlers[3].misses), (Some(3), None));
}

#[test]
fn perf_events_of_which_the_kernel_tells_nothing_are_said_to_be_unseen() {
    let mut sources = Lists { holders: holders(), ..Lists::default() }.sources();
    assert_eq!(of(&sources).unread, []);
    sources.holders.plain_events.insert(4712);
    let [told] = &of(&sources).unread[..] else { panic!() };
    assert!(told.reason.why.ends_with("of perf[4712]") && !told.exists, "{told:?}");
}

#[test]
fn two_programs_on_one_tracepoint_by_perf_events_are_two_handlers_however_many_cpus_each_is_on() {
    let mut sources = Lists { holders: holders(), ..Lists::default() }.sources();
    for program in [30, 31, 30, 31] {
        sources.holders.on_events.push(link(0, program, LinkedTo::Tracepoint("sched_switch".to_owned())));
    }
    let programs: Vec<_> = of(&sources).handlers.iter().filter_map(|handler| handler.program).collect();
    assert_eq!(programs, [30, 31]);
}

#[test]
fn a_table_that_cannot_be_read_is_told_where_a_kprobe_has_no_owner() {
    let unread = |kprobes| {
        let mut sources = Lists { kprobes, ..Lists::default() }.sources();
        sources.registered = Err(Reason::new("no rights"));
        of(&sources).unread
    };
    assert_eq!(unread(""), []);
    let [told] = &unread("ffffffff8101ddd9  k  version_proc_show+0x9    \n")[..] else { panic!() };
    assert_eq!((told.list, told.exists), (HandlerList::Owners, false));
}

#[test]
fn a_kprobe_on_one_of_two_functions_of_a_name_is_told_by_address() {
    let census = Lists {
        kprobes: "ffffffff81880000  k  show+0x0    [FTRACE]\nffffffff81870000  k  show+0x0    [FTRACE]\n",
        enabled: "show (1) R    \ttramp: 0xffffffffc000e000 (kprobe_ftrace_handler+0x0/0xf0) ->ftrace_ops_assist_func+0x0/0x110\nshow (1) R    \ttramp: 0xffffffffc000e000 (kprobe_ftrace_handler+0x0/0xf0) ->ftrace_ops_assist_func+0x0/0x110\n",
        ..Lists::default()
    }
    .census();
    let places: Vec<_> = census.handlers.iter().map(|h| (h.sympos, h.address.unwrap().0)).collect();
    assert_eq!(places, [(Some(1), 0xffff_ffff_8187_0000), (Some(2), 0xffff_ffff_8188_0000)]);
}

#[test]
fn a_livepatch_is_on_the_function_that_its_number_says_and_waits_for_its_module() {
    let census = Lists {
        livepatched: &[("vmlinux", "show", 2), ("demo", "demo_entry", 1), ("later", "later_entry", 1)],
        enabled: "show (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n",
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "livepatch fix demo_entry module fix",
            "livepatch fix later_entry module fix",
            "livepatch fix show,2 module fix",
        ]
    );
    let later = &census.handlers[1];
    assert_eq!((later.state, later.because.as_deref()), (HandlerState::Off, Some("waits for module later")));
    assert_eq!(census.handlers[2].address.unwrap().0, 0xffff_ffff_8188_0000);
}

#[test]
fn a_kprobe_in_a_replaced_body_is_dead_and_one_at_the_entry_is_not() {
    let census = Lists {
        livepatched: &[("vmlinux", "version_proc_show", 1)],
        kprobes: "\
ffffffff8101ddd4  k  version_proc_show+0x4    [FTRACE]
ffffffff8101ddd4  r  version_proc_show+0x4    [FTRACE]
ffffffff8101ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8101dbe9  k  uptime_proc_show+0x9    [OPTIMIZED]
",
        ..Lists::default()
    }
    .census();
    let is_dead = |handler: &&HandlerReport| handler.state == HandlerState::Dead;
    let dead: Vec<_> = census.handlers.iter().filter(is_dead).map(|it| it.name.as_str()).collect();
    assert_eq!(dead, ["version_proc_show+0x9"]);
}

#[test]
fn tracers_are_told_by_their_instances_and_explain_what_is_counted() {
    let census = Lists {
        enabled: "arch_cpu_idle (4) R I   ->arch_ftrace_ops_list_func+0x0/0x1d0\n",
        kprobes: "ffffffff818356d0  k  arch_cpu_idle+0x0    [FTRACE]\n",
        tracers: vec![
            tracer("function_trace_call", Some("mine"), Some(&["arch_cpu_idle"])),
            tracer("ftrace_graph_func", None, None),
        ],
        livepatched: &[("vmlinux", "arch_cpu_idle", 1)],
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "ftrace_ops ftrace_graph_func * tracefs",
            "livepatch fix arch_cpu_idle module fix",
            "kprobe arch_cpu_idle+0x0 arch_cpu_idle -",
            "ftrace_ops function_trace_call arch_cpu_idle tracefs instance mine",
        ]
    );
    assert_eq!(census.handlers[0].reliance, Reliance::DoesNotRely);
}

fn link(id: u32, program: u32, on: LinkedTo) -> Link {
    Link { id, program, on, missed: None }
}

/// Two processes: 4711 holds links 1 to 3, 4712 holds the top instance of tracefs.
fn holders() -> Holders {
    let process = |comm: &str| Process { comm: comm.to_owned(), ..Process::default() };
    Holders {
        links: (1..=3).map(|link| (link, std::iter::once(4711).collect())).collect(),
        instances: std::iter::once((None, std::iter::once(4712).collect())).collect(),
        processes: [(4711, process("bpftrace")), (4712, process("perf"))].into_iter().collect(),
        ..Holders::default()
    }
}

#[test]
fn programs_are_on_their_functions_with_those_who_hold_them() {
    let tracing = bpf_prog_type::BPF_PROG_TYPE_TRACING;
    let kprobe = bpf_prog_type::BPF_PROG_TYPE_KPROBE;
    let symbol = "uptime_proc_show".to_owned();
    let single = LinkedTo::Kprobe { symbol, offset: 0, address: 0, is_return: false };
    let addresses = vec![0xffff_ffff_8183_56d0, 0xffff_ffff_8101_c780];
    let census = Lists {
        kprobes: "ffffffff8101dbe4  k  uptime_proc_show+0x4    [FTRACE]\n",
        // The multi link is an fprobe, which 6.12 names only where it is alone.
        enabled: "\
loadavg_proc_show (2)       ->ftrace_ops_list_func+0x0/0x180
arch_cpu_idle (1)    \ttramp: 0xffffffffc0247000 (fprobe_handler+0x0/0x60) ->fprobe_handler+0x0/0x60
demo_entry [demo] (1)     D \ttramp: 0xffffffffc0a00000 (call_direct_funcs+0x0/0x20) ->call_direct_funcs+0x0/0x20
\tdirect-->bpf_trampoline_277025390663+0x0/0x5c
",
        tracers: vec![tracer("function_trace_call", None, Some(&["loadavg_proc_show"]))],
        programs: BpfObjects {
            programs: vec![
                LoadedProgram::new(7, kprobe, "multi"),
                LoadedProgram::new(8, kprobe, "single"),
                LoadedProgram::new(9, tracing, "exit"),
                LoadedProgram::new(10, tracing, "switch"),
            ],
            links: vec![
                link(1, 7, LinkedTo::Kprobes { addresses, is_return: false }),
                link(2, 8, single),
                // Of a module: its types are not read, and its trampoline tells.
                link(3, 9, LinkedTo::Function { target: 71, object: 64, at: Trampoline::Entry }),
                link(4, 9, LinkedTo::Function { target: 5, object: 1, at: Trampoline::Exit }),
                link(5, 10, LinkedTo::RawTracepoint("sched_switch".to_owned())),
                link(6, 8, LinkedTo::Uprobe),
            ],
            functions: std::iter::once((5, "version_proc_show".to_owned())).collect(),
        },
        holders: holders(),
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "kprobe_multi multi arch_cpu_idle bpftrace[4711]",
            "fentry exit demo_entry bpftrace[4711]",
            "kprobe_multi multi loadavg_proc_show bpftrace[4711]",
            "ftrace_ops function_trace_call loadavg_proc_show perf[4712]",
            "raw_tracepoint switch sched_switch nobody has it open: pinned",
            "kprobe single uptime_proc_show bpftrace[4711]",
            "fexit exit version_proc_show nobody has it open: pinned",
        ]
    );
    assert_eq!(census.uprobes, 1);
}

#[test]
fn one_program_on_a_trampoline_that_nobody_explains_is_there_and_two_could_be_anywhere() {
    // 5.10: a link tells no function, and a trampoline is named after an id of types that are not read.
    let untold = |links: &[u32]| {
        let at = |&id| link(id, 9, LinkedTo::Function { target: 0, object: 0, at: Trampoline::Entry });
        let census = Lists {
            enabled: "uptime_proc_show (1)     D \n\tdirect-->bpf_trampoline_36567_0+0x0/0x58\n",
            programs: BpfObjects {
                programs: vec![LoadedProgram::new(9, bpf_prog_type::BPF_PROG_TYPE_TRACING, "entry")],
                links: links.iter().map(at).collect(),
                ..BpfObjects::default()
            },
            holders: holders(),
            ..Lists::default()
        };
        told(&census.census())
    };
    assert_eq!(untold(&[1]), ["fentry entry uptime_proc_show bpftrace[4711]"]);
    assert_eq!(untold(&[1, 2]), ["fentry entry * bpftrace[4711]", "fentry entry * bpftrace[4711]"]);
}

#[test]
fn where_not_all_processes_are_seen_nobody_is_said_to_be_missing() {
    let hidden = Holders { incomplete: Some(Reason::new("hidepid")), ..Holders::default() };
    let census = Lists {
        programs: BpfObjects {
            programs: vec![LoadedProgram::new(8, bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, "switch")],
            links: vec![link(1, 8, LinkedTo::RawTracepoint("sched_switch".to_owned()))],
            ..BpfObjects::default()
        },
        holders: hidden,
        ..Lists::default()
    }
    .census();
    assert_eq!(told(&census), ["raw_tracepoint switch sched_switch -"]);
    assert_eq!(census.unread[0].list, HandlerList::Owners);
}

#[test]
fn what_nothing_explains_is_listed_as_often_as_it_is_counted() {
    let census = Lists {
        enabled: "\
arch_cpu_idle (3)       ->ftrace_ops_list_func+0x0/0x180
demo_entry [demo] (1)    \ttramp: 0xffffffffc0247000 (demo_callback+0x0/0x60 [demo]) ->demo_callback+0x0/0x60 [demo]
",
        tracers: vec![tracer("function_trace_call", None, Some(&["arch_cpu_idle"]))],
        ..Lists::default()
    }
    .census();
    assert_eq!(
        told(&census),
        [
            "ftrace_ops function_trace_call arch_cpu_idle tracefs",
            "ftrace_ops unnamed arch_cpu_idle -",
            "ftrace_ops unnamed arch_cpu_idle -",
            "ftrace_ops demo_callback demo_entry module demo",
        ]
    );
}

#[test]
fn a_switch_of_the_kernel_makes_dead_what_it_stops() {
    let lists = || Lists {
        kprobes: "ffffffff818356d0  k  arch_cpu_idle+0x0    [FTRACE]\nffffffff8101ddd9  k  version_proc_show+0x9    \n",
        tracers: vec![tracer("function_trace_call", None, None)],
        ..Lists::default()
    };
    let states = |sources: &Sources| -> Vec<(String, HandlerState)> {
        of(sources).handlers.into_iter().map(|h| (h.name, h.state)).collect()
    };
    let [tracer, idle, version] =
        ["function_trace_call", "arch_cpu_idle+0x0", "version_proc_show+0x9"].map(str::to_owned);
    let mut sources = lists().sources();
    sources.switches.kprobes = Some(false);
    let (alive, dead) = (HandlerState::Alive, HandlerState::Dead);
    assert_eq!(states(&sources), [(tracer.clone(), alive), (idle.clone(), dead), (version.clone(), dead)]);
    let mut sources = lists().sources();
    sources.switches.ftrace = Some(false);
    assert_eq!(states(&sources), [(tracer, dead), (idle, dead), (version, alive)]);
}

#[test]
fn a_list_that_cannot_be_read_is_told_and_events_stand_for_their_kprobes() {
    let mut sources = Lists {
        events: vec![event(EventKind::Kprobe, "kprobes/version", "version_proc_show", 9)],
        ..Lists::default()
    }
    .sources();
    sources.kprobes = Err(Reason::new("debugfs is not mounted"));
    let census = of(&sources);
    assert_eq!(census.unread.len(), 1);
    assert_eq!((census.unread[0].list, census.unread[0].exists), (HandlerList::Kprobes, true));
    assert_eq!(told(&census), ["kprobe kprobes/version version_proc_show+0x9 tracefs"]);
    assert_eq!(census.handlers[0].kind, HookKind::Kprobe);
}

#[test]
fn each_of_ten_thousand_kprobes_is_its_events_own() {
    let lines: String =
        (0..10_000).map(|i| format!("ffffffff8101{i:04x}  k  loadavg_proc_show+{i:#x}    \n")).collect();
    let events = (0..10_000).map(|i| event(EventKind::Kprobe, &format!("g/e{i}"), "loadavg_proc_show", i));
    let mut sources = Lists { events: events.collect(), ..Lists::default() }.sources();
    sources.kprobes = Ok(kprobe::read(lines.as_bytes()).unwrap());
    sources.symbols = Err(Reason::new("hidden"));
    let census = of(&sources);
    let is_its_own = |handler: &HandlerReport| {
        handler.owner.is_some() && handler.name == format!("g/e{}", handler.offset.unwrap_or(0))
    };
    assert!(census.handlers.iter().all(is_its_own));
    assert_eq!(census.handlers.len(), 10_000);
}
