//! ftrace's own tracers that are switched on, in the top instance of tracefs and in all others.
//!
//! Their callbacks are known by the tracer and its options, also where `enabled_functions` does not name them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::mount::Tree;

/// One of ftrace's own tracers that is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tracer {
    /// The function that ftrace calls for it.
    pub callback: &'static str,
    /// The functions that it is restricted to; `None`: every function.
    pub functions: Option<Vec<String>>,
    pub set_up_by: SetUpBy,
    /// `tracing_on` of its instance.
    pub records: bool,
}

impl Tracer {
    /// Whether it is on this function.
    #[must_use]
    pub(crate) fn is_on(&self, function: &str) -> bool {
        self.functions.as_ref().is_none_or(|names| names.iter().any(|name| name == function))
    }
}

/// Where a tracer was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetUpBy {
    /// An instance of tracefs by its name; `None`: the top one.
    Instance(Option<String>),
    Sysctl(&'static str),
}

/// The instances of tracefs, each with its name; the top one has none and is the first.
pub(crate) fn instances(tracefs: &Path) -> Vec<(Option<String>, PathBuf)> {
    let below = std::fs::read_dir(tracefs.join("instances")).into_iter().flatten().flatten();
    let mut below: Vec<_> = below.map(|entry| (entry.file_name().into_string().ok(), entry.path())).collect();
    below.retain(|(name, _)| name.is_some());
    below.sort();
    std::iter::once((None, tracefs.to_owned())).chain(below).collect()
}

/// Tracers that are on.
pub(crate) fn read(tree: &Tree, tracefs: &Path) -> Vec<Tracer> {
    let mut tracers = Vec::new();
    for (name, place) in instances(tracefs) {
        let callback = match first_line(&place.join("current_tracer")).unwrap_or_default().as_str() {
            "function" => function_tracer(&place.join("options")),
            "function_graph" => "ftrace_graph_func",
            _ => continue,
        };
        tracers.push(Tracer {
            callback,
            functions: filter(&place.join("set_ftrace_filter")),
            set_up_by: SetUpBy::Instance(name),
            records: first_line(&place.join("tracing_on")).map_or(true, |on| on != "0"),
        });
    }
    if first_line(&tree.path("/proc/sys/kernel/stack_tracer_enabled")).is_ok_and(|on| on == "1") {
        tracers.push(Tracer {
            callback: "stack_trace_call",
            functions: filter(&tracefs.join("stack_trace_filter")),
            set_up_by: SetUpBy::Sysctl("kernel.stack_tracer_enabled"),
            records: true,
        });
    }
    tracers
}

/// The functions of a filter, without their modules; `None` where it lets all through.
fn filter(file: &Path) -> Option<Vec<String>> {
    let mut functions = Some(Vec::new());
    let _ = each_line_of(file, |line| {
        if line.starts_with("####") {
            functions = None;
        } else if let Some(functions) = &mut functions {
            functions.push(line.split([' ', ':']).next().unwrap_or(line).to_owned());
        }
        ControlFlow::Continue(())
    });
    functions
}

/// The callback that the function tracer has with the options that it has now: kernel/trace/trace_functions.c,
/// `select_trace_function`.
fn function_tracer(options: &Path) -> &'static str {
    let is_on = |option: &str| first_line(&options.join(option)).is_ok_and(|on| on == "1");
    match (is_on("func_stack_trace"), is_on("func-no-repeats"), is_on("func-args")) {
        (true, true, _) => "function_stack_no_repeats_trace_call",
        (true, false, _) => "function_stack_trace_call",
        (false, true, _) => "function_no_repeats_trace_call",
        (false, false, true) => "function_args_trace_call",
        (false, false, false) => "function_trace_call",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn a_tracer_of_an_instance_is_told_with_its_filter_and_the_top_one_without() {
        let root = tempfile::tempdir().unwrap();
        let tracefs = root.path().join("sys/kernel/tracing");
        let instance = tracefs.join("instances/mine");
        create_dir_all(&instance).unwrap();
        write(tracefs.join("current_tracer"), "function_graph\n").unwrap();
        write(tracefs.join("set_ftrace_filter"), "#### all functions enabled ####\n").unwrap();
        write(tracefs.join("tracing_on"), "1\n").unwrap();
        write(instance.join("current_tracer"), "function\n").unwrap();
        write(instance.join("set_ftrace_filter"), "arch_cpu_idle\ndemo_entry [demo]\n").unwrap();
        write(instance.join("tracing_on"), "0\n").unwrap();
        let tracers = read(&Tree::under(root.path()), &tracefs);
        let [top, mine] = tracers.as_slice() else { panic!("{tracers:?}") };
        assert_eq!((top.callback, &top.functions, top.records), ("ftrace_graph_func", &None, true));
        assert_eq!(top.set_up_by, SetUpBy::Instance(None));
        assert_eq!((mine.callback, mine.records), ("function_trace_call", false));
        let both = ["arch_cpu_idle".to_owned(), "demo_entry".to_owned()];
        assert_eq!(mine.functions.as_deref(), Some(&both[..]));
        assert_eq!(mine.set_up_by, SetUpBy::Instance(Some("mine".to_owned())));
    }
}
