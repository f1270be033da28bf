//! The kinds of things that are put around what the kernel printed.

use alloc::vec::Vec;
use core::fmt;

use strum::{IntoStaticStr, VariantArray};

/// Something that stands around a line of the kernel, as `-v` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub(super) enum Layer {
    #[strum(serialize = "colours")]
    Colours,
    #[strum(serialize = "JSON or YAML")]
    Json,
    #[strum(serialize = "HTML")]
    Html,
    #[strum(serialize = "quoted-printable")]
    QuotedPrintable,
    #[strum(serialize = "escaped control characters")]
    Escapes,
    #[strum(serialize = "quoted")]
    Quoted,
    #[strum(serialize = "a diff")]
    Diff,
    #[strum(serialize = "line numbers")]
    Numbers,
    #[strum(serialize = "levels")]
    Level,
    #[strum(serialize = "records of /dev/kmsg or netconsole")]
    Record,
    #[strum(serialize = "syslog of RFC 5424")]
    Rfc5424,
    #[strum(serialize = "time of day")]
    Clock,
    #[strum(serialize = "logcat")]
    Logcat,
    #[strum(serialize = "a build system's stream marks")]
    Stream,
    #[strum(serialize = "syslog or journal")]
    Tag,
    #[strum(serialize = "Xen")]
    Xen,
    #[strum(serialize = "printk's time")]
    Boot,
    #[strum(serialize = "printk's other times")]
    Bracketed,
    #[strum(serialize = "caller ids")]
    Caller,
    #[strum(serialize = "a vendor's CPU and task")]
    Vendor,
    #[strum(serialize = "marks of a console server or of pstore")]
    Marks,
    #[strum(serialize = "an unknown prefix")]
    Unknown,
}

/// Which layers a log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layers(u32);

impl Layers {
    pub(super) const fn add(&mut self, layer: Layer) {
        self.0 |= 1 << layer as u32;
    }

    const fn has(self, layer: Layer) -> bool {
        self.0 & 1 << layer as u32 != 0
    }

    /// From the outside in.
    pub(super) fn names(self) -> Vec<&'static str> {
        Layer::VARIANTS.iter().filter(|layer| self.has(**layer)).map(|layer| (*layer).into()).collect()
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().join(", ");
        f.write_str(if names.is_empty() { "bare lines" } else { &names })
    }
}
