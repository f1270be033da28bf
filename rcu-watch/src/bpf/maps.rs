//! The maps by name, typed: the only place in user space that spells their names.

use aya::maps::{Array, Map, MapError, PerCpuArray, PerCpuValues};
use aya::{Ebpf, Pod};
use rcu_watch_common::config::CalibrationSample;
use rcu_watch_common::counter::ProbeState;
use rcu_watch_common::record::{KeptRecords, SnapshotRecord};
use rcu_watch_core::units::{CpuId, ProbeId};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::BpfError;

/// A value as the kernel copies it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct MapValue<T>(pub T);

// SAFETY: zerocopy proves that T has no padding and no invalid bit pattern.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Pod for MapValue<T> {}

/// Names that the loader uses.
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const LAYOUT: &str = "LAYOUT";
pub(crate) const STREAM: &str = "STREAM";
pub(super) const PEEK: &str = "PEEK";
const KEPT: &str = "KEPT";
const LOSS: &str = "LOSS";
const WANT_STACK: &str = "WANT_STACK";
const UNWATCHED: &str = "UNWATCHED";
/// Where the compiler puts the only global that is not frozen.
const MODE: &str = ".data";
const CALIBRATION: &str = "CALIBRATION";
const CALIBRATION_IRQ: &str = "CALIBRATION_IRQ";

pub(super) fn at(map: &'static str) -> impl Fn(MapError) -> BpfError {
    move |source| BpfError::Map { map, source }
}

/// The transport's map, taken out of the object.
pub(crate) fn take_events(bpf: &mut Ebpf) -> Result<Map, BpfError> {
    bpf.take_map(EVENTS).ok_or_else(|| BpfError::Missing(EVENTS.to_owned()))
}

/// The books of one probe on every possible CPU, by CPU number.
pub(crate) fn books(bpf: &Ebpf, probe: ProbeId) -> Result<Vec<(CpuId, ProbeState)>, BpfError> {
    let map = bpf.map(LOSS).ok_or_else(|| BpfError::Missing(LOSS.to_owned()))?;
    let map: PerCpuArray<_, MapValue<ProbeState>> = PerCpuArray::try_from(map).map_err(at(LOSS))?;
    let values = map.get(&probe.0, 0).map_err(at(LOSS))?;
    Ok((0..).map(CpuId).zip(values.iter().map(|value| value.0)).collect())
}

/// Records that CPUs kept and never came to send, each CPU's in order. Programs may no longer run.
pub(crate) fn kept(bpf: &Ebpf) -> Result<Vec<SnapshotRecord>, BpfError> {
    // Where each CPU has its own buffer, nothing is kept.
    let Some(map) = bpf.map(KEPT) else { return Ok(Vec::new()) };
    let map: PerCpuArray<_, MapValue<KeptRecords>> = PerCpuArray::try_from(map).map_err(at(KEPT))?;
    let values = map.get(&0, 0).map_err(at(KEPT))?;
    let of_cpu = |kept: &KeptRecords| {
        kept.records.get(kept.first as usize..kept.end as usize).unwrap_or_default().to_vec()
    };
    Ok(values.iter().flat_map(|MapValue(kept)| of_cpu(kept)).collect())
}

/// Has the next record of `probe` take a kernel stack along.
pub(crate) fn want_stack(bpf: &mut Ebpf, probe: ProbeId) -> Result<(), BpfError> {
    let map = bpf.map_mut(WANT_STACK).ok_or_else(|| BpfError::Missing(WANT_STACK.to_owned()))?;
    let mut map: Array<_, u32> = Array::try_from(map).map_err(at(WANT_STACK))?;
    map.set(probe.0, 1, 0).map_err(at(WANT_STACK))
}

/// Asks for the words of `cpu`, or of [`rcu_watch_common::config::ANY_CPU`].
pub(crate) fn ask_calibration(bpf: &mut Ebpf, cpu: u32) -> Result<(), BpfError> {
    set_calibration(bpf, CalibrationSample { cpu, ..CalibrationSample::default() })
}

/// Asks for nothing.
pub(crate) fn ask_no_calibration(bpf: &mut Ebpf) -> Result<(), BpfError> {
    set_calibration(bpf, CalibrationSample { count: 1, ..CalibrationSample::default() })
}

fn set_calibration(bpf: &mut Ebpf, sample: CalibrationSample) -> Result<(), BpfError> {
    let map = bpf.map_mut(CALIBRATION).ok_or_else(|| BpfError::Missing(CALIBRATION.to_owned()))?;
    let mut map: Array<_, MapValue<CalibrationSample>> = Array::try_from(map).map_err(at(CALIBRATION))?;
    map.set(0, MapValue(sample), 0).map_err(at(CALIBRATION))
}

/// What the calibration program read last.
pub(crate) fn calibration(bpf: &Ebpf) -> Result<CalibrationSample, BpfError> {
    let map = bpf.map(CALIBRATION).ok_or_else(|| BpfError::Missing(CALIBRATION.to_owned()))?;
    let map: Array<_, MapValue<CalibrationSample>> = Array::try_from(map).map_err(at(CALIBRATION))?;
    Ok(map.get(&0, 0).map_err(at(CALIBRATION))?.0)
}

/// Per CPU, the words of an irq that hit its idle task; `count` 0 where there was none.
pub(crate) fn calibration_irqs(bpf: &Ebpf) -> Result<Vec<CalibrationSample>, BpfError> {
    let map = bpf.map(CALIBRATION_IRQ).ok_or_else(|| BpfError::Missing(CALIBRATION_IRQ.to_owned()))?;
    let map: PerCpuArray<_, MapValue<CalibrationSample>> =
        PerCpuArray::try_from(map).map_err(at(CALIBRATION_IRQ))?;
    let values = map.get(&0, 0).map_err(at(CALIBRATION_IRQ))?;
    Ok(values.iter().map(|value| value.0).collect())
}

/// Leaves CPUs unwatched: their hits are neither counted nor sent. Probes ask once: nothing may be counted yet.
pub(crate) fn watch_only(bpf: &mut Ebpf, is_watched: impl Fn(CpuId) -> bool) -> Result<(), BpfError> {
    let map = bpf.map_mut(UNWATCHED).ok_or_else(|| BpfError::Missing(UNWATCHED.to_owned()))?;
    let mut map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(at(UNWATCHED))?;
    let count = map.get(&0, 0).map_err(at(UNWATCHED))?.len() as u32;
    let values: Vec<_> = (0..count).map(|cpu| u64::from(!is_watched(CpuId(cpu)))).collect();
    let values = PerCpuValues::try_from(values)
        .map_err(|source| BpfError::Syscall { call: "reading the number of possible CPUs", source })?;
    map.set(0, values, 0).map_err(at(UNWATCHED))
}

/// Sets what is to be done with hits: one of `rcu_watch_common::config::mode`.
pub(crate) fn set_mode(bpf: &mut Ebpf, mode: u32) -> Result<(), BpfError> {
    let map = bpf.map_mut(MODE).ok_or_else(|| BpfError::Missing(MODE.to_owned()))?;
    let mut map: Array<_, u32> = Array::try_from(map).map_err(at(MODE))?;
    map.set(0, mode, 0).map_err(at(MODE))
}
