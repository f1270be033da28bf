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
        Self::new(
            Severity::Error,
            because_replaced(patch),
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

/// Why a handler in a body that `patch` replaced is dead.
#[must_use]
pub fn because_replaced(patch: &str) -> String {
    format!("livepatch {patch} replaced the body that it sits in, which nothing enters any more")
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
mod tests;
