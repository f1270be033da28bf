//! What the kernel would make of a livepatch, or of another handler, before somebody tries.
//!
//! The caller reads the kernel's lists into a [`Kernel`] and a [`Target`] for each function; what would come of it is
//! worked out here, as kernel/livepatch and kernel/trace/ftrace.c would: who is refused, which transition would not
//! come to its end, and whose handlers would never run any more.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::probe::Handler;
use crate::report::audit::{Forecast, ForecastKind};
use crate::report::finding::{Holder, StackFrame, TaskReport};

/// What holds for every function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel takes livepatches at all.
    pub has_livepatching: bool,
    /// Why ftrace calls nobody, and what to do about it; `None` where it does.
    pub ftrace_is_off: Option<String>,
    /// A livepatch and a trampoline that is called directly exclude each other, and the second is refused.
    pub direct_excludes_livepatch: bool,
    /// The livepatch whose transition is not complete.
    pub in_transition: Option<String>,
}

/// How the function is to be hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a livepatch.
    Livepatch {
        /// Which of the functions of this name it means, from 1; 0: the only one.
        sympos: u64,
    },
    /// By a livepatch or anything else: nobody said.
    Any,
}

/// One function, and what the kernel's lists say of it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name.
    pub function: String,
    /// `vmlinux`, or the module that it is in.
    pub object: String,
    /// How it is to be hooked.
    pub way: Way,
    /// The kernel has its object now.
    pub is_loaded: bool,
    /// Symbols of this name in its object; `None`: the list cannot be read.
    pub namesakes: Option<u64>,
    /// Livepatches that replace it now.
    pub livepatches: Vec<String>,
    /// Who else may change where it continues, as only one may.
    pub diverts: Option<Other>,
    /// Who has ftrace call a trampoline of its own directly.
    pub direct: Option<Other>,
    /// That trampoline cannot make room for a livepatch on any kernel.
    pub direct_is_rigid: bool,
    /// Probes at an instruction behind its entry, and whose they are.
    pub inside: Option<Other>,
    /// Tasks that were in it both times that somebody looked; the error says why nobody could.
    pub sitters: Result<Vec<Sitter>, String>,
}

/// Somebody else on the function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Other {
    /// What it is, as people read it.
    pub what: String,
    /// The handlers, as far as they are known by name.
    pub handlers: Vec<Handler>,
}

/// A task that is in the function.
#[derive(Clone, Debug, PartialEq)]
pub struct Sitter {
    /// The task.
    pub task: TaskReport,
    /// How it could be made to leave.
    pub state: SitterState,
    /// Where it is, innermost first.
    pub stack: Vec<StackFrame>,
}

/// How a task that is in a function could be made to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SitterState {
    /// A thread of the kernel's own, which nobody interrupts.
    Kthread,
    /// It sleeps, and a signal ends that.
    Interruptible,
    /// It waits for something that has to come.
    Uninterruptible,
    /// It was stopped, by a signal or a debugger.
    Stopped,
}

impl SitterState {
    const fn words(self) -> &'static str {
        match self {
            Self::Kthread => "kthread, sleeps",
            Self::Interruptible => "sleeps",
            Self::Uninterruptible => "sleeps, uninterruptible",
            Self::Stopped => "stopped",
        }
    }

    /// What would make it leave.
    const fn help(self) -> &'static str {
        match self {
            Self::Kthread => "a kthread has to return from it by itself: have what it serves come to an end",
            Self::Interruptible => "the kernel interrupts its sleep",
            Self::Uninterruptible => "it cannot be interrupted: what it waits for has to come",
            Self::Stopped => "let it go on (SIGCONT), or end it",
        }
    }
}

impl Forecast {
    fn new(kind: ForecastKind, because: String, help: Option<&str>) -> Self {
        let help = help.map(str::to_owned);
        Self { kind, because, help, handlers: Vec::new(), holders: Vec::new() }
    }

    fn of(self, handlers: &[Handler]) -> Self {
        Self { handlers: handlers.to_vec(), ..self }
    }
}

/// What speaks against loading any livepatch now; `module` is one of this name that is loaded already.
#[must_use]
pub fn of_patch(kernel: &Kernel, module: Option<&str>) -> Vec<Forecast> {
    let refused = |because, help| Forecast::new(ForecastKind::Refused, because, Some(help));
    let mut all = Vec::new();
    if !kernel.has_livepatching {
        let because = "this kernel is built without livepatching".to_owned();
        all.push(refused(because, "a kernel with CONFIG_LIVEPATCH is needed"));
    }
    if let Some(module) = module {
        let because = format!("a module {module} is loaded already");
        all.push(refused(because, "disable and unload it first, or name the new one otherwise"));
    }
    if let Some(other) = &kernel.in_transition {
        // kernel/livepatch/core.c:__klp_enable_patch
        let because =
            format!("the transition of livepatch {other} is not complete, and there is one at a time");
        all.push(refused(because, "wait for it: rcu-watch patches --wait 60s"));
    }
    all
}

/// What would come of hooking the function now; empty where nothing stands in the way.
#[must_use]
pub fn of_function(kernel: &Kernel, target: &Target) -> Vec<Forecast> {
    if !target.is_loaded {
        let because = format!("module {} is not loaded: it is patched when the module comes", target.object);
        return match target.way {
            Way::Livepatch { .. } => alloc::vec![Forecast::new(ForecastKind::Waits, because, None)],
            Way::Any => Vec::new(),
        };
    }
    let mut all = Vec::new();
    all.extend(by_name(target));
    all.extend(by_handlers(kernel, target));
    if let Some(inside) = &target.inside {
        let because = format!("{} would never run any more: a livepatch runs another body", inside.what);
        let help = Some("move it to the entry, or into the replacement");
        all.push(Forecast::new(ForecastKind::FallsSilent, because, help).of(&inside.handlers));
    }
    all.extend(by_tasks(target));
    all
}

/// kernel/livepatch/core.c:klp_find_object_symbol
fn by_name(target: &Target) -> Option<Forecast> {
    let Target { function, object, .. } = target;
    let refused = |because, help| Some(Forecast::new(ForecastKind::Refused, because, help));
    match (target.way, target.namesakes?) {
        (Way::Livepatch { .. }, 0) => refused(format!("{object} has no symbol {function}"), None),
        (Way::Livepatch { sympos: 0 } | Way::Any, many @ 2..) => refused(
            format!(
                "{object} has {many} symbols of this name, and a livepatch that does not say which is refused"
            ),
            Some("give its position (old_sympos)"),
        ),
        (Way::Livepatch { sympos }, many) if sympos > many => refused(
            format!("{object} has {many} symbols of this name, and the livepatch asks for number {sympos}"),
            None,
        ),
        _ => None,
    }
}

fn by_handlers(kernel: &Kernel, target: &Target) -> Vec<Forecast> {
    let refused = |because, help| Forecast::new(ForecastKind::Refused, because, help);
    let mut all = Vec::new();
    // A second livepatch joins the handler of the first (kernel/livepatch/patch.c:klp_patch_func).
    if target.livepatches.is_empty() {
        if let Some(off) = &kernel.ftrace_is_off {
            // FTRACE_OPS_FL_PERMANENT. Added in: 7162431dcf72 ("ftrace: Introduce PERMANENT ftrace_ops flag")
            all.push(refused(format!("ftrace calls nobody: {off}"), None));
        }
        if let Some(Other { what, handlers }) = &target.diverts {
            // kernel/trace/ftrace.c:__ftrace_hash_update_ipmodify
            let because =
                format!("{what} may change where the function continues, which only one handler may");
            all.push(refused(because, Some("a livepatch fails with EBUSY until it is removed")).of(handlers));
        }
        if let Some(Other { what, handlers }) = &target.direct
            && (kernel.direct_excludes_livepatch || target.direct_is_rigid)
        {
            let because = format!("{what} is called directly, and this leaves no room for a livepatch");
            all.push(
                refused(because, Some("a livepatch fails with EBUSY until it is detached")).of(handlers),
            );
        }
    } else if kernel.direct_excludes_livepatch && target.way == Way::Any {
        let patches = target.livepatches.join(", ");
        let because =
            format!("it is livepatched by {patches}, and this kernel allows no BPF trampoline beside it");
        all.push(refused(because, Some("use a kprobe")));
    }
    all
}

/// kernel/livepatch/transition.c:klp_try_switch_task leaves a task that is in a function to be patched as it is. One
/// that sleeps and can be interrupted is, after 15 rounds of a second (klp_send_signals); a kthread is only woken.
fn by_tasks(target: &Target) -> Vec<Forecast> {
    let sitters = match &target.sitters {
        Ok(sitters) => sitters,
        Err(why) => {
            let because = format!("whether a task is in it cannot be told: {why}");
            return alloc::vec![Forecast::new(ForecastKind::Unseen, because, None)];
        }
    };
    let leaves = |sitter: &&Sitter| sitter.state == SitterState::Interruptible;
    let (leaving, staying): (Vec<_>, Vec<_>) = sitters.iter().partition(leaves);
    let mut all = Vec::new();
    if let Some(first) = staying.first() {
        let because = format!("{} in it, and the transition waits for {}", sit(&staying), them(&staying));
        let forecast = Forecast::new(ForecastKind::MayHang, because, Some(first.state.help()));
        all.push(Forecast { holders: holders(target, &staying), ..forecast });
    }
    if !leaving.is_empty() {
        let because =
            format!("{} in it until the kernel interrupts {} after some 15 s", sit(&leaving), them(&leaving));
        let forecast = Forecast::new(ForecastKind::Delays, because, None);
        all.push(Forecast { holders: holders(target, &leaving), ..forecast });
    }
    all
}

fn holders(target: &Target, sitters: &[&Sitter]) -> Vec<Holder> {
    let holder = |sitter: &&Sitter| Holder {
        task: Some(sitter.task.clone()),
        state: sitter.state.words().to_owned(),
        function: Some(target.function.clone()),
        help: Some(sitter.state.help().to_owned()),
        stack: sitter.stack.clone(),
        ..Holder::default()
    };
    sitters.iter().map(holder).collect()
}

/// `kworker/0:1[45] sits`, `3 tasks (bash[7], ...) sit`
fn sit(sitters: &[&Sitter]) -> String {
    let name = |sitter: &Sitter| format!("{}[{}]", sitter.task.comm, sitter.task.pid);
    match sitters {
        [only] => format!("{} sits", name(only)),
        [first, ..] => format!("{} tasks ({}, ...) sit", sitters.len(), name(first)),
        [] => String::new(),
    }
}

fn them(sitters: &[&Sitter]) -> &'static str {
    if sitters.len() == 1 { "it" } else { "them" }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec;

    use super::*;

    const OPEN: Kernel = Kernel {
        has_livepatching: true,
        ftrace_is_off: None,
        direct_excludes_livepatch: false,
        in_transition: None,
    };

    fn target() -> Target {
        Target {
            function: "vfs_read".into(),
            object: "vmlinux".into(),
            way: Way::Livepatch { sympos: 0 },
            is_loaded: true,
            namesakes: Some(1),
            livepatches: vec![],
            diverts: None,
            direct: None,
            direct_is_rigid: false,
            inside: None,
            sitters: Ok(vec![]),
        }
    }

    fn other(what: &str) -> Option<Other> {
        Some(Other { what: what.into(), handlers: vec![] })
    }

    fn kinds(kernel: &Kernel, target: &Target) -> Vec<ForecastKind> {
        of_function(kernel, target).iter().map(|forecast| forecast.kind).collect()
    }

    fn sitter(comm: &str, state: SitterState) -> Sitter {
        let task = TaskReport { pid: 7, tgid: 7, comm: comm.to_string(), idle: false };
        Sitter { task, state, stack: vec![] }
    }

    #[test]
    fn where_nothing_stands_in_the_way_nothing_is_foretold() {
        assert_eq!(of_function(&OPEN, &target()), []);
        assert_eq!(of_patch(&OPEN, None), []);
    }

    #[test]
    fn a_handler_that_diverts_refuses_a_livepatch_unless_one_is_there_already() {
        let diverted = Target { diverts: other("a kprobe with a post_handler"), ..target() };
        let forecasts = of_function(&OPEN, &diverted);
        assert_eq!(forecasts[0].kind, ForecastKind::Refused);
        assert!(forecasts[0].because.starts_with("a kprobe with a post_handler may"), "{forecasts:?}");
        assert_eq!(kinds(&OPEN, &Target { livepatches: vec!["first".into()], ..diverted }), []);
    }

    #[test]
    fn ftrace_that_is_off_refuses_the_first_livepatch_of_a_function() {
        let off = Kernel { ftrace_is_off: Some("kernel.ftrace_enabled is 0".into()), ..OPEN };
        assert_eq!(kinds(&off, &target()), [ForecastKind::Refused]);
        assert_eq!(kinds(&off, &Target { livepatches: vec!["first".into()], ..target() }), []);
    }

    #[test]
    fn a_trampoline_and_a_livepatch_exclude_each_other_only_where_the_kernel_has_them_do_so() {
        let excluding = Kernel { direct_excludes_livepatch: true, ..OPEN };
        let direct = Target { direct: other("bpf_trampoline_1"), ..target() };
        assert_eq!(kinds(&excluding, &direct), [ForecastKind::Refused]);
        assert_eq!(kinds(&OPEN, &direct), []);
        assert_eq!(kinds(&OPEN, &Target { direct_is_rigid: true, ..direct }), [ForecastKind::Refused]);
        let patched = Target { livepatches: vec!["first".into()], ..target() };
        assert_eq!(kinds(&excluding, &patched), []);
        assert_eq!(kinds(&excluding, &Target { way: Way::Any, ..patched }), [ForecastKind::Refused]);
    }

    #[test]
    fn a_name_that_is_not_there_or_there_twice_is_refused_unless_its_position_is_given() {
        let named = |way, namesakes| kinds(&OPEN, &Target { way, namesakes, ..target() });
        let at = |sympos| Way::Livepatch { sympos };
        assert_eq!(named(at(0), Some(0)), [ForecastKind::Refused]);
        assert_eq!(named(at(0), Some(2)), [ForecastKind::Refused]);
        assert_eq!(named(Way::Any, Some(2)), [ForecastKind::Refused]);
        assert_eq!(named(at(2), Some(2)), []);
        assert_eq!(named(at(3), Some(2)), [ForecastKind::Refused]);
        assert_eq!(named(Way::Any, Some(0)), []);
        assert_eq!(named(at(0), None), []);
    }

    #[test]
    fn a_function_of_a_module_that_is_not_loaded_waits_for_it() {
        let absent = Target { object: "nfsd".into(), is_loaded: false, namesakes: Some(0), ..target() };
        assert_eq!(kinds(&OPEN, &absent), [ForecastKind::Waits]);
        assert_eq!(kinds(&OPEN, &Target { way: Way::Any, ..absent }), []);
    }

    #[test]
    fn a_probe_inside_falls_silent_and_refuses_nobody() {
        let probed = Target { inside: other("kprobe vfs_read+0x9"), ..target() };
        let forecasts = of_function(&OPEN, &probed);
        assert_eq!(forecasts[0].kind, ForecastKind::FallsSilent);
        assert!(forecasts[0].because.contains("vfs_read+0x9 would never run"), "{forecasts:?}");
    }

    #[test]
    fn a_kthread_that_sits_in_it_may_hang_the_transition_and_who_can_be_interrupted_delays_it() {
        let with = |sitters| of_function(&OPEN, &Target { sitters: Ok(sitters), ..target() });
        let user = sitter("bash", SitterState::Interruptible);
        let delayed = with(vec![user.clone()]);
        assert_eq!(delayed[0].kind, ForecastKind::Delays);
        for state in [SitterState::Kthread, SitterState::Uninterruptible, SitterState::Stopped] {
            let forecasts = with(vec![user.clone(), sitter("nfsd", state)]);
            assert_eq!(forecasts[0].kind, ForecastKind::MayHang);
            assert!(forecasts[0].because.starts_with("nfsd[7] sits in it"), "{forecasts:?}");
            assert_eq!(forecasts[0].holders.len(), 1);
            assert_eq!(forecasts[1].kind, ForecastKind::Delays);
        }
        let closed = of_function(&OPEN, &Target { sitters: Err("closed".into()), ..target() });
        assert_eq!(closed[0].kind, ForecastKind::Unseen);
    }

    #[test]
    fn a_patch_is_refused_for_what_holds_for_all_of_its_functions() {
        let busy = Kernel { in_transition: Some("other".into()), ..OPEN };
        assert!(of_patch(&busy, None)[0].because.contains("livepatch other"));
        assert!(of_patch(&OPEN, Some("fix"))[0].because.contains("module fix"));
        assert_eq!(of_patch(&Kernel { has_livepatching: false, ..OPEN }, None).len(), 1);
    }
}
