//! What no file of the kernel tells, and the kernel itself has to be asked.
//!
//! A trait, so that a captured kernel can answer in a test.

use crate::kernel::facts::feature::Features;
use crate::kernel::read::btf::FoundTypes;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::privilege::Privileges;
use crate::kernel::read::program::ProgramSites;
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::FoundSymbols;
use crate::sys::bpf::program::program_ids;

/// What cannot be read from a file and has to be asked of the kernel.
pub trait Ask {
    fn features(
        &self,
        tree: &Tree,
        privileges: &Privileges,
        symbols: &FoundSymbols,
        btf: &Result<FoundTypes, Reason>,
    ) -> Features;
    /// BPF programs of anybody.
    fn programs(&self, tree: &Tree) -> Result<ProgramSites, Reason>;
    /// Their ids alone, which are had at once; empty where this process may not ask.
    fn program_ids(&self) -> Vec<u32>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningKernel;

impl Ask for RunningKernel {
    fn features(
        &self,
        tree: &Tree,
        privileges: &Privileges,
        symbols: &FoundSymbols,
        btf: &Result<FoundTypes, Reason>,
    ) -> Features {
        Features::probe(tree, privileges, symbols, btf)
    }

    fn programs(&self, tree: &Tree) -> Result<ProgramSites, Reason> {
        ProgramSites::read(tree)
    }

    fn program_ids(&self) -> Vec<u32> {
        program_ids()
    }
}
