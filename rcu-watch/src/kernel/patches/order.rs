//! Which of several livepatches on one function is on top: the last one that was enabled. Livepatches are enabled as
//! their modules are loaded, and none can be enabled again (kernel/livepatch/core.c:enabled_store).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::report::patches::{Order, OrderSource};

use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::livepatch::{Livepatch, PatchedFunction};
use crate::kernel::read::mount::Tree;

/// The order of all livepatches, and the modules that are there.
#[derive(Debug, Default)]
pub(super) struct Orders {
    places: BTreeMap<String, Order>,
    /// Newest first, as the kernel lists them.
    modules: Vec<String>,
}

impl Orders {
    pub(super) fn read(tree: &Tree, sysfs: &Path, livepatches: &[Livepatch]) -> Self {
        let mut modules = Vec::new();
        // Without it there is no order, and each livepatch says so.
        let _ = each_line_of(&tree.path("/proc/modules"), |line| {
            modules.extend(line.split(' ').next().map(str::to_owned));
            ControlFlow::Continue(())
        });
        let by_sysfs = |patch: &Livepatch| {
            // Since 6.14: 3dae09de4061 ("livepatch: Add stack_order sysfs attribute").
            let place = first_line(&sysfs.join(&patch.name).join("stack_order")).ok()?.parse().ok()?;
            Some((patch.name.clone(), Order { place, by: OrderSource::StackOrder }))
        };
        let mut places: BTreeMap<String, Order> = livepatches.iter().filter_map(by_sysfs).collect();
        // Half of it from elsewhere is no order.
        if places.len() < livepatches.len() {
            let are_patches =
                modules.iter().rev().filter(|module| livepatches.iter().any(|patch| patch.name == **module));
            places = (1..)
                .zip(are_patches)
                .map(|(place, name)| (name.clone(), Order { place, by: OrderSource::Modules }))
                .collect();
        }
        Self { places, modules }
    }

    pub(super) fn of(&self, patch: &str) -> Option<Order> {
        self.places.get(patch).copied()
    }

    pub(super) fn has_module(&self, name: &str) -> bool {
        self.modules.iter().any(|module| module == name)
    }

    /// The livepatches on a function, the one on top first; `patch` alone where the order is not known.
    pub(super) fn stack_on(&self, function: &PatchedFunction, patch: &str, all: &[Livepatch]) -> Vec<String> {
        let is_on = |other: &PatchedFunction| {
            (&other.object, &other.function, other.sympos)
                == (&function.object, &function.function, function.sympos)
        };
        let on = all
            .iter()
            .filter(|other| (other.enabled || other.in_transition) && other.functions.iter().any(is_on));
        let mut stack: Vec<(Option<u32>, &str)> =
            on.map(|other| (self.of(&other.name).map(|order| order.place), other.name.as_str())).collect();
        if stack.iter().any(|(place, _)| place.is_none()) {
            return vec![patch.to_owned()];
        }
        stack.sort_unstable_by(|a, b| b.cmp(a));
        stack.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}
