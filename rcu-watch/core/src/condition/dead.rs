//! RW016: handlers that the kernel lists as placed and that cannot run.
//!
//! A look reads who is where, what is switched off and what was replaced, as [`Signs`]. [`dead`] says which of these
//! handlers nothing can ever call, and why. Each sign is one of the kernel's own, and none is that a handler was not
//! seen to run: a handler that is merely never reached is alive. While something is being changed the lists
//! contradict each other, so only what two looks agree on counts: [`Dead::agrees_with`].

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::condition::Condition;
use crate::finding::{RuleId, Severity};
use crate::model::kernel::TextRange;
use crate::probe::Handler;
use crate::units::Address;

/// Functions that are told one by one for the same cause; a tracer can be on 40,000.
const FUNCTIONS_MAX: usize = 32;

/// The ftrace site of a function is at most this far behind its start: behind endbr64 on x86, behind `bti c` and the
/// instruction that saves the link register on arm64.
const ENTRY_BYTES: u64 = 16;

/// What one look read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Whether ftrace calls its handlers.
    pub ftrace: Ftrace,
    /// No kprobe is armed.
    pub kprobes_are_off: bool,
    /// Handlers that the kernel lists.
    pub handlers: Vec<Listed>,
    /// Functions of livepatches that are enabled, where their object is loaded.
    pub patched: Vec<Patched>,
    /// The ftrace sites of functions with handlers.
    pub sites: Vec<Site>,
}

/// Whether ftrace calls its handlers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ftrace {
    /// It does, or nothing tells that it does not.
    #[default]
    On,
    /// `kernel.ftrace_enabled` is 0.
    Off,
    /// It met an error and shut itself down: what has a trampoline of its own may still be called, and nothing new is.
    ShutDown,
}

/// A handler that the kernel lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The function that it names.
    pub function: String,
    /// Whose it is.
    pub handler: Handler,
    /// It is armed with all kprobes, and disarmed with them.
    pub is_kprobe: bool,
    /// It is called from the function's ftrace site.
    pub by_ftrace: bool,
    /// Where it sits, for those that do not sit on an ftrace site.
    pub address: Option<Address>,
    /// What keeps it from running that its owner answers for.
    pub off: Option<Off>,
}

/// A handler that healthy hosts have too, and that does not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Off {
    /// Its owner switched it off, or never on.
    Disabled,
    /// Its function went with its module.
    Gone,
    /// The tracefs instance that it writes to is off; `None`: the top one.
    Instance(Option<String>),
}

/// A function of a livepatch that is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The livepatch.
    pub patch: String,
    /// The function that it replaces.
    pub function: String,
    /// Its transition is over: no task runs the old body any more.
    pub is_settled: bool,
    /// What lies behind the ftrace site of the old body; absent where nothing tells which function it is.
    pub body: Option<TextRange>,
    /// ftrace has a handler on the function; absent where that cannot be told.
    pub is_hooked: Option<bool>,
}

/// Where ftrace calls the handlers of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The function, by the name that ftrace has for it.
    pub function: String,
    /// Where kallsyms has the one function of this name.
    pub entry: Address,
    /// ftrace's records of this name.
    pub records: Vec<Address>,
    /// Who is on it.
    pub handlers: Vec<Handler>,
}

/// What [`dead`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dead {
    /// Handlers of others.
    pub conditions: Vec<Condition>,
    /// Handlers of ours: why a run is inconclusive, a sentence each.
    pub unmet: Vec<String>,
}

impl Dead {
    /// What an earlier look had found too.
    #[must_use]
    pub fn agrees_with(mut self, earlier: &Self) -> Self {
        let same = |a: &Condition, b: &Condition| a.function == b.function && a.key == b.key;
        self.conditions.retain(|now| earlier.conditions.iter().any(|before| same(before, now)));
        self.unmet.retain(|now| earlier.unmet.contains(now));
        self
    }
}

/// Why something is dead: what all that is dead for the same reason have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    severity: Severity,
    because: String,
    help: Option<String>,
}

impl Cause {
    fn new(severity: Severity, because: impl Into<String>, help: &str) -> Self {
        let help = (!help.is_empty()).then(|| help.to_owned());
        Self { severity, because: because.into(), help }
    }

    fn ftrace_is_off() -> Self {
        let because = "kernel.ftrace_enabled is 0: ftrace calls none of its handlers";
        Self::new(Severity::Error, because, "sysctl kernel.ftrace_enabled=1")
    }

    fn ftrace_shut_down() -> Self {
        let because = "ftrace has shut itself down after an error, and nobody can tell whether it still calls its handlers";
        Self::new(Severity::Warning, because, "the kernel's log says why; only a reboot turns it on again")
    }

    fn kprobes_are_off() -> Self {
        let because = "kprobes are switched off (kprobes/enabled is 0): none is armed";
        Self::new(Severity::Error, because, "echo 1 > /sys/kernel/debug/kprobes/enabled")
    }

    fn off(off: &Off) -> Self {
        match off {
            Off::Disabled => Self::new(Severity::Info, "its owner switched it off, or never on", ""),
            Off::Gone => Self::new(Severity::Info, "its function went with its module", ""),
            Off::Instance(instance) => {
                let name = instance.as_deref().map_or_else(
                    || "the top instance of tracefs".to_owned(),
                    |name| format!("tracefs instance {name}"),
                );
                let because = format!("{name} is off (tracing_on is 0): it records nothing");
                Self::new(Severity::Info, because, "echo 1 to its tracing_on")
            }
        }
    }

    fn replaced(patch: &str) -> Self {
        let because =
            format!("livepatch {patch} replaced the body that it sits in, which nothing enters any more");
        Self::new(
            Severity::Error,
            because,
            "place it on the replacement, or at the function's entry, where both are seen",
        )
    }

    fn not_the_entry(distance: u64) -> Self {
        let because =
            format!("the only ftrace site of this name is {distance:#x} away from the function's entry");
        Self::new(Severity::Error, because, "place it by address, on the function that is meant")
    }

    fn unhooked(patch: &str) -> Self {
        let because =
            format!("livepatch {patch} is enabled, and ftrace has no handler here: the old body runs");
        Self::new(Severity::Error, because, "disable the livepatch and load it again")
    }
}

/// What is dead on one function for one reason.
struct Found<'a> {
    cause: Cause,
    function: &'a str,
    handlers: Vec<&'a Handler>,
}

/// Which of the handlers cannot run.
#[must_use]
pub fn dead(signs: &Signs) -> Dead {
    let mut found = Vec::new();
    for listed in &signs.handlers {
        if let Some(cause) = cause_of(listed, signs) {
            add(&mut found, cause, &listed.function, Some(&listed.handler));
        }
    }
    for site in &signs.sites {
        let distance = |record: &Address| record.0.abs_diff(site.entry.0);
        let is_entry = |record: &Address| *record >= site.entry && distance(record) <= ENTRY_BYTES;
        if let Some(nearest) = site.records.iter().map(distance).min()
            && !site.records.iter().any(is_entry)
        {
            for handler in &site.handlers {
                add(&mut found, Cause::not_the_entry(nearest), &site.function, Some(handler));
            }
        }
    }
    if signs.ftrace == Ftrace::On {
        for patched in signs.patched.iter().filter(|patched| patched.is_hooked == Some(false)) {
            add(&mut found, Cause::unhooked(&patched.patch), &patched.function, None);
        }
    }
    told(found)
}

fn add<'a>(found: &mut Vec<Found<'a>>, cause: Cause, function: &'a str, handler: Option<&'a Handler>) {
    match found.iter_mut().find(|same| same.function == function && same.cause == cause) {
        Some(same) => same.handlers.extend(handler),
        None => found.push(Found { cause, function, handlers: handler.into_iter().collect() }),
    }
}

/// What keeps this one from running; the first of several.
fn cause_of(listed: &Listed, signs: &Signs) -> Option<Cause> {
    let instance = match &listed.off {
        Some(off @ (Off::Disabled | Off::Gone)) => return Some(Cause::off(off)),
        Some(instance @ Off::Instance(_)) => Some(instance),
        None => None,
    };
    if listed.is_kprobe && signs.kprobes_are_off {
        return Some(Cause::kprobes_are_off());
    }
    match signs.ftrace {
        Ftrace::Off if listed.by_ftrace => return Some(Cause::ftrace_is_off()),
        Ftrace::ShutDown if listed.by_ftrace => return Some(Cause::ftrace_shut_down()),
        Ftrace::On | Ftrace::Off | Ftrace::ShutDown => {}
    }
    let is_in = |patched: &&Patched| {
        let (Some(body), Some(address)) = (patched.body, listed.address) else { return false };
        patched.is_settled && body.start <= address && address < body.end
    };
    // Ours in a replaced body is there to see whether anything still enters it.
    let is_stranded = listed.is_kprobe && !listed.by_ftrace && !listed.handler.ours;
    let replaced = signs.patched.iter().find(is_in).filter(|_| is_stranded);
    replaced.map(|patched| Cause::replaced(&patched.patch)).or_else(|| instance.map(Cause::off))
}

/// Puts in words what was found, ours apart from that of others, the worst first.
fn told(mut found: Vec<Found<'_>>) -> Dead {
    let mut dead = Dead::default();
    found.retain_mut(|Found { cause, handlers, .. }| {
        if handlers.iter().any(|handler| handler.ours) && cause.severity > Severity::Info {
            let remedy = cause.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
            let sentence = format!("probes of rcu-watch itself cannot run: {}{remedy}", cause.because);
            if !dead.unmet.contains(&sentence) {
                dead.unmet.push(sentence);
            }
        }
        let is_about_handlers = !handlers.is_empty();
        handlers.retain(|handler| !handler.ours);
        !(is_about_handlers && handlers.is_empty())
    });
    found.sort_by(|a, b| {
        let by_severity = b.cause.severity.cmp(&a.cause.severity);
        by_severity.then_with(|| a.cause.cmp(&b.cause)).then_with(|| a.function.cmp(b.function))
    });
    for same in found.chunk_by(|a, b| a.cause == b.cause) {
        let (few, rest) = same.split_at(same.len().min(FUNCTIONS_MAX));
        let one = |found: &Found<'_>| condition(&found.cause, found.function.to_owned(), &found.handlers);
        dead.conditions.extend(few.iter().map(one));
        if let [first, ..] = rest {
            dead.conditions.push(condition(&first.cause, format!("{} more functions", rest.len()), &[]));
        }
    }
    dead
}

fn condition(cause: &Cause, function: String, handlers: &[&Handler]) -> Condition {
    let Cause { severity, because, help } = cause.clone();
    let mut handlers: Vec<Handler> = handlers.iter().map(|&handler| handler.clone()).collect();
    handlers.sort();
    handlers.dedup();
    let mut key = because.clone();
    for handler in &handlers {
        key.push_str(", ");
        key.push_str(&handler.name);
    }
    Condition { handlers, help, key, ..Condition::new(RuleId::HandlerDead, severity, function, because) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{HandlerKind, Reliance};

    const ENTRY: u64 = 0xffff_ffff_8100_1000;

    fn handler(kind: HandlerKind, name: &str) -> Handler {
        let ours = name.starts_with("rcuw_");
        Handler { kind, name: name.to_owned(), program: None, reliance: Reliance::Relies, ours, owner: None }
    }

    fn kprobe(function: &str, offset: u64, by_ftrace: bool) -> Listed {
        Listed {
            function: function.to_owned(),
            handler: handler(HandlerKind::Kprobe, &format!("{function}+{offset:#x}")),
            is_kprobe: true,
            by_ftrace,
            address: Some(Address(ENTRY + offset)),
            off: None,
        }
    }

    fn traced(function: &str, name: &str) -> Listed {
        Listed {
            handler: handler(HandlerKind::Bpf, name),
            is_kprobe: false,
            address: None,
            ..kprobe(function, 0, true)
        }
    }

    fn patched(function: &str) -> Patched {
        Patched {
            patch: "fix".to_owned(),
            function: function.to_owned(),
            is_settled: true,
            body: Some(TextRange { start: Address(ENTRY + 5), end: Address(ENTRY + 0x100) }),
            is_hooked: Some(true),
        }
    }

    /// A fentry program, a kprobe at an entry and one in a body, and a livepatch of another function.
    fn healthy() -> Signs {
        Signs {
            handlers: vec![
                traced("vfs_read", "trace_read"),
                kprobe("vfs_open", 4, true),
                kprobe("vfs_write", 9, false),
            ],
            patched: vec![Patched {
                body: Some(TextRange { start: Address(ENTRY + 0x1005), end: Address(ENTRY + 0x1100) }),
                ..patched("cmdline_proc_show")
            }],
            sites: vec![Site {
                function: "vfs_read".to_owned(),
                entry: Address(ENTRY),
                records: vec![Address(ENTRY + 4)],
                handlers: vec![handler(HandlerKind::Bpf, "trace_read")],
            }],
            ..Signs::default()
        }
    }

    fn summary(dead: &Dead) -> Vec<(Severity, &str, &str)> {
        assert!(dead.conditions.iter().all(|c| c.handlers.iter().all(|h| !h.ours)), "{dead:?}");
        dead.conditions
            .iter()
            .map(|c| (c.severity, c.function.as_str(), c.help.as_deref().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn where_all_is_well_nothing_is_found() {
        assert_eq!(dead(&healthy()), Dead::default());
    }

    #[test]
    fn with_ftrace_off_what_it_carries_is_dead_and_a_kprobe_by_int3_is_not() {
        let found = dead(&Signs { ftrace: Ftrace::Off, ..healthy() });
        let help = "sysctl kernel.ftrace_enabled=1";
        assert_eq!(
            summary(&found),
            [(Severity::Error, "vfs_open", help), (Severity::Error, "vfs_read", help)]
        );
        assert_eq!(found.unmet, Vec::<String>::new());
    }

    #[test]
    fn where_ftrace_shut_itself_down_nobody_knows_what_still_runs() {
        let found = dead(&Signs { ftrace: Ftrace::ShutDown, ..healthy() });
        assert!(found.conditions.iter().all(|condition| condition.severity == Severity::Warning));
        assert_eq!(found.conditions.len(), 2);
    }

    #[test]
    fn with_kprobes_off_each_kprobe_is_dead_and_a_trampoline_is_not() {
        let found = dead(&Signs { kprobes_are_off: true, ..healthy() });
        let help = "echo 1 > /sys/kernel/debug/kprobes/enabled";
        assert_eq!(
            summary(&found),
            [(Severity::Error, "vfs_open", help), (Severity::Error, "vfs_write", help)]
        );
    }

    #[test]
    fn what_its_owner_switched_off_or_went_with_its_module_is_only_worth_knowing() {
        for off in [Off::Disabled, Off::Gone, Off::Instance(Some("perf".to_owned()))] {
            let mut signs = healthy();
            signs.handlers[1].off = Some(off.clone());
            let found = dead(&signs);
            assert_eq!(found.conditions.len(), 1);
            assert_eq!(
                (found.conditions[0].severity, &*found.conditions[0].function),
                (Severity::Info, "vfs_open")
            );
            // Switched off as it is, the switch of all kprobes changes nothing for it; of an instance it does.
            signs.kprobes_are_off = true;
            let is_error = |c: &Condition| c.function == "vfs_open" && c.severity == Severity::Error;
            assert_eq!(dead(&signs).conditions.iter().any(is_error), matches!(off, Off::Instance(_)));
        }
    }

    #[test]
    fn a_kprobe_in_a_body_that_was_replaced_is_dead_and_one_at_its_entry_is_not() {
        let with = |listed: Listed, patched: Patched| {
            dead(&Signs { handlers: vec![listed], patched: vec![patched], ..Signs::default() })
        };
        let found = with(kprobe("vfs_open", 9, false), patched("vfs_open"));
        assert_eq!(summary(&found).len(), 1);
        assert_eq!(found.conditions[0].severity, Severity::Error);
        assert!(found.conditions[0].because.contains("livepatch fix replaced the body"));
        assert_eq!(found.conditions[0].handlers[0].name, "vfs_open+0x9");
        let mut ours = kprobe("vfs_open", 9, false);
        ours.handler.ours = true;
        assert_eq!(with(ours, patched("vfs_open")), Dead::default());
        // It shares the site with the livepatch, whichever is called first.
        assert_eq!(with(kprobe("vfs_open", 4, true), patched("vfs_open")), Dead::default());
        // Before the ftrace site, another function, tasks that are still in the old body, a function of unknown place.
        let start = Listed { by_ftrace: false, ..kprobe("vfs_open", 0, false) };
        assert_eq!(with(start, patched("vfs_open")), Dead::default());
        assert_eq!(with(kprobe("other", 0x100, false), patched("vfs_open")), Dead::default());
        let moving = Patched { is_settled: false, ..patched("vfs_open") };
        assert_eq!(with(kprobe("vfs_open", 9, false), moving), Dead::default());
        let unknown = Patched { body: None, ..patched("vfs_open") };
        assert_eq!(with(kprobe("vfs_open", 9, false), unknown), Dead::default());
    }

    #[test]
    fn a_site_that_is_not_the_entry_is_dead_with_and_without_endbr() {
        let with = |records: &[u64]| {
            let mut signs = healthy();
            signs.sites[0].records =
                records.iter().map(|&offset| Address(ENTRY.wrapping_add(offset))).collect();
            dead(&signs)
        };
        for fine in [&[0][..], &[4], &[8], &[4, 0x80], &[]] {
            assert_eq!(with(fine), Dead::default(), "{fine:?}");
        }
        for (elsewhere, distance) in [(0x80, "0x80"), (0_u64.wrapping_sub(0x40), "0x40")] {
            let found = with(&[elsewhere]);
            assert_eq!(summary(&found)[0].0, Severity::Error);
            assert!(found.conditions[0].because.contains(distance), "{found:?}");
        }
    }

    #[test]
    fn an_enabled_livepatch_without_a_handler_is_dead_unless_the_lists_cannot_tell() {
        let with = |is_hooked, ftrace| {
            let patched = vec![Patched { is_hooked, ..patched("vfs_open") }];
            dead(&Signs { patched, ftrace, ..Signs::default() })
        };
        let found = with(Some(false), Ftrace::On);
        assert_eq!(summary(&found)[0].1, "vfs_open");
        assert!(found.conditions[0].because.contains("livepatch fix is enabled"));
        assert_eq!(with(None, Ftrace::On), Dead::default());
        // With ftrace off its list is empty, whoever is there.
        assert_eq!(with(Some(false), Ftrace::Off), Dead::default());
    }

    #[test]
    fn what_is_dead_of_ours_is_no_finding_and_makes_the_run_inconclusive() {
        let handlers = vec![traced("vfs_read", "rcuw_fentry_00"), traced("vfs_open", "rcuw_fentry_01")];
        let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
        assert_eq!(found.conditions, []);
        assert_eq!(
            found.unmet,
            [
                "probes of rcu-watch itself cannot run: kernel.ftrace_enabled is 0: ftrace calls none of its handlers; \
              sysctl kernel.ftrace_enabled=1"
            ]
        );
        // Somebody's on the same function is a finding all the same.
        let handlers = vec![traced("vfs_read", "rcuw_fentry_00"), traced("vfs_read", "trace_read")];
        let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
        assert_eq!((summary(&found).len(), found.unmet.len()), (1, 1));
        let mut disabled = traced("vfs_read", "rcuw_kprobe_00");
        disabled.off = Some(Off::Disabled);
        assert_eq!(dead(&Signs { handlers: vec![disabled], ..Signs::default() }), Dead::default());
    }

    #[test]
    fn what_only_one_of_two_looks_saw_is_in_flux() {
        let off = dead(&Signs { ftrace: Ftrace::Off, ..healthy() });
        assert_eq!(off.clone().agrees_with(&off), off);
        assert_eq!(off.clone().agrees_with(&dead(&healthy())), Dead::default());
        assert_eq!(dead(&healthy()).agrees_with(&off), Dead::default());
        // The same function, and another reason.
        let kprobes = dead(&Signs { kprobes_are_off: true, ..healthy() });
        assert_eq!(kprobes.agrees_with(&off), Dead::default());
    }

    #[test]
    fn many_that_are_dead_for_one_reason_are_counted_behind_the_first() {
        let handlers = (0..100).map(|number| traced(&format!("f{number:02}"), "trace")).collect();
        let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
        assert_eq!(found.conditions.len(), FUNCTIONS_MAX + 1);
        assert_eq!(found.conditions[FUNCTIONS_MAX].function, "68 more functions");
    }
}
