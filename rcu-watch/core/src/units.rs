//! The quantities of the field as types, so that a state word cannot be taken for a counter.

use alloc::borrow::Cow;
use core::fmt;
use core::num::ParseIntError;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A CPU's number, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CpuId(pub u32);

/// Index of a probe in the attach plan; the BPF side's `probe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ProbeId(pub u32);

/// Nanoseconds: a time of `CLOCK_MONOTONIC`, or a length of time. A JSON string: it can pass 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// What to add to a time of `CLOCK_MONOTONIC` to have nanoseconds since 1970. A JSON string: it passes 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealtimeOffset(pub i64);

/// A number that can pass 2^53, and is a JSON string therefore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WideNumber(pub u64);

/// S: the word whose watching bit says whether RCU watches this CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateWord(pub u32);

/// A kernel address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

/// N or M, as the signed number that the kernel keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub i64);

/// P: `preempt_count` as read, before any mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PreemptCount(pub u64);

macro_rules! displayed_in_decimal {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
displayed_in_decimal!(CpuId, Nanos, RealtimeOffset, WideNumber);

macro_rules! displayed_in_hex {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    )*};
}
displayed_in_hex!(StateWord, Address, Counter, PreemptCount);

macro_rules! serialized_as_displayed {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialized_as_displayed!(Nanos, RealtimeOffset, WideNumber, StateWord, Address, Counter, PreemptCount);

macro_rules! deserialized_as_displayed {
    ($($name:ident => $parse:expr),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                let parse: fn(&str) -> Result<_, ParseIntError> = $parse;
                parse(&text).map(Self).map_err(de::Error::custom)
            }
        }
    )*};
}
deserialized_as_displayed!(
    Nanos => str::parse,
    RealtimeOffset => str::parse,
    WideNumber => str::parse,
    Address => hex,
    PreemptCount => hex,
    Counter => |text| hex(text).map(u64::cast_signed),
    StateWord => |text| u32::from_str_radix(digits(text), 16),
);

fn hex(text: &str) -> Result<u64, ParseIntError> {
    u64::from_str_radix(digits(text), 16)
}

fn digits(text: &str) -> &str {
    text.strip_prefix("0x").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    #[test]
    fn quantities_come_back_from_json_as_they_were() {
        for number in [0, 1, u64::MAX] {
            assert_eq!(back(&Nanos(number)), Nanos(number));
            assert_eq!(back(&WideNumber(number)), WideNumber(number));
            assert_eq!(back(&Address(number)), Address(number));
            assert_eq!(back(&PreemptCount(number)), PreemptCount(number));
        }
        for number in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(back(&Counter(number)), Counter(number));
            assert_eq!(back(&RealtimeOffset(number)), RealtimeOffset(number));
        }
        assert_eq!(back(&StateWord(u32::MAX)), StateWord(u32::MAX));
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        assert!(serde_json::from_str::<StateWord>("\"0x100000000\"").is_err());
        assert!(serde_json::from_str::<Nanos>("\"-1\"").is_err());
    }
}
