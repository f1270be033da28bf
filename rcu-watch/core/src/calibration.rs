//! Whether the words mean on this kernel what the layout says: judged from samples, before any rule is.
//!
//! A task must be seen at rest (W=1, N=1, M at rest), and an idle CPU in its EQS (W=0, N=0, M=0) or an irq
//! out of one (W=1, N=0, M=1). A contradiction is a refusal that says what was read.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rcu_watch_common::config::{CalibrationSample, StateLayout};

use crate::units::{Counter, StateWord};

/// M at rest.
const NMI_NESTING_REST: u64 = 1 << 62;

/// What the calibration programs read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Samples {
    /// Of the CPU that read it, in task context.
    pub task: Option<CalibrationSample>,
    /// Of another CPU, in an EQS.
    pub idle: Option<CalibrationSample>,
    /// Of an irq that hit an idle task.
    pub irq: Option<CalibrationSample>,
}

/// What calibration learnt.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// An EQS was seen, from inside or out.
    pub eqs_seen: bool,
    /// HARDIRQ bits of P were seen where the layout has them.
    pub hardirq_seen: bool,
    /// A sentence for each thing that was seen.
    pub sentences: Vec<String>,
}

/// A contradiction between the layout and what was read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what}: expected {expected}, read {read}; rcu-watch does not know this kernel's layout, please report it"
)]
pub struct Contradiction {
    what: &'static str,
    expected: &'static str,
    read: String,
}

fn describe(sample: &CalibrationSample) -> String {
    format!(
        "S={} N={} M={} P={:#x} on cpu {}",
        StateWord(sample.state),
        Counter(sample.nesting.cast_signed()),
        Counter(sample.nmi_nesting.cast_signed()),
        sample.preempt_count,
        sample.cpu
    )
}

/// Whether RCU watches, by the bit that the layout says holds it.
#[must_use]
pub const fn is_watching(layout: &StateLayout, sample: &CalibrationSample) -> bool {
    sample.state & layout.rest_state != 0
}

/// Whether this is a CPU in its EQS.
#[must_use]
pub const fn is_eqs(layout: &StateLayout, sample: &CalibrationSample) -> bool {
    !is_watching(layout, sample) && sample.nesting == 0 && sample.nmi_nesting == 0
}

/// Judges the samples.
///
/// # Errors
/// Where a sample contradicts the layout.
pub fn judge(layout: &StateLayout, samples: &Samples) -> Result<Calibrated, Contradiction> {
    let mut calibration = Calibrated { eqs_seen: false, hardirq_seen: false, sentences: Vec::new() };
    let task = samples.task.ok_or_else(|| Contradiction {
        what: "in task context",
        expected: "readable state words",
        read: "nothing".to_owned(),
    })?;
    let at_rest = is_watching(layout, &task) && task.nesting == 1 && task.nmi_nesting == NMI_NESTING_REST;
    if !at_rest {
        return Err(Contradiction {
            what: "in task context",
            expected: "W=1 N=1 M=0x4000000000000000",
            read: describe(&task),
        });
    }
    calibration.sentences.push(format!("task: {}", describe(&task)));
    if let Some(idle) = samples.idle.filter(|idle| is_eqs(layout, idle)) {
        calibration.eqs_seen = true;
        calibration.sentences.push(format!("idle cpu: {}", describe(&idle)));
    }
    if let Some(irq) = samples.irq {
        let counted = is_watching(layout, &irq)
            && match irq.nmi_nesting {
                NMI_NESTING_REST.. => irq.nesting == 1,
                m => irq.nesting == 0 && m & 1 == 1,
            };
        if !counted {
            return Err(Contradiction {
                what: "in an irq of an idle cpu",
                expected: "W=1 and N=0 M=1, or N=1 M at rest plus 2",
                read: describe(&irq),
            });
        }
        if irq.preempt_count & layout.hardirq_mask == 0 || irq.preempt_count & layout.nmi_mask != 0 {
            return Err(Contradiction {
                what: "in an irq of an idle cpu",
                expected: "HARDIRQ bits and no NMI bits in preempt_count",
                read: describe(&irq),
            });
        }
        calibration.hardirq_seen = true;
        calibration.eqs_seen |= irq.nmi_nesting == 1;
        calibration.sentences.push(format!("irq of an idle cpu: {}", describe(&irq)));
    }
    Ok(calibration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> StateLayout {
        StateLayout {
            nmi_mask: 0xf0_0000,
            hardirq_mask: 0xf_0000,
            rest_mask: 7,
            rest_state: 4,
            ..StateLayout::default()
        }
    }

    fn sample(state: u32, nesting: u64, nmi_nesting: u64, preempt_count: u64) -> CalibrationSample {
        CalibrationSample {
            nesting,
            nmi_nesting,
            preempt_count,
            state,
            cpu: 1,
            count: 1,
            ..CalibrationSample::default()
        }
    }

    fn task() -> CalibrationSample {
        sample(0x1234_0004, 1, NMI_NESTING_REST, 0x8000_0001)
    }

    fn with_irq(irq: CalibrationSample) -> Samples {
        Samples { task: Some(task()), idle: None, irq: Some(irq) }
    }

    #[test]
    fn a_task_at_rest_and_an_idle_cpu_calibrate() {
        let samples = Samples { task: Some(task()), idle: Some(sample(0x11, 0, 0, 0)), irq: None };
        let calibration = judge(&layout(), &samples).unwrap();
        assert!(calibration.eqs_seen && !calibration.hardirq_seen);
    }

    #[test]
    fn one_cpu_calibrates_by_an_irq_out_of_its_own_idle() {
        let calibration = judge(&layout(), &with_irq(sample(0x15, 0, 1, 0x8001_0000))).unwrap();
        assert!(calibration.eqs_seen && calibration.hardirq_seen);
    }

    #[test]
    fn an_irq_on_top_of_the_kernel_teaches_the_bits_but_shows_no_eqs() {
        let irq = sample(0x14, 1, NMI_NESTING_REST + 2, 0x8001_0000);
        let calibration = judge(&layout(), &with_irq(irq)).unwrap();
        assert!(!calibration.eqs_seen && calibration.hardirq_seen);
    }

    #[test]
    fn a_task_that_rcu_does_not_watch_is_refused_with_what_was_read() {
        let samples = Samples { task: Some(sample(0x11, 1, NMI_NESTING_REST, 0)), ..Samples::default() };
        let refusal = judge(&layout(), &samples).unwrap_err().to_string();
        assert!(refusal.contains("S=0x11 N=0x1 M=0x4000000000000000"), "{refusal}");
    }

    #[test]
    fn an_irq_without_its_bits_in_preempt_count_is_refused() {
        let refusal = judge(&layout(), &with_irq(sample(0x15, 0, 1, 0x8000_0000))).unwrap_err();
        assert!(refusal.to_string().contains("preempt_count"));
    }

    #[test]
    fn nothing_read_is_refused() {
        assert!(judge(&layout(), &Samples::default()).is_err());
    }
}
