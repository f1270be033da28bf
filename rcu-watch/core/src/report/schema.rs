//! The stream's JSON Schema, from the types that write it; docs/schema.json is the copy for readers.
//!
//! Only the tests need it, so it costs the binary nothing. Numbers that are written as strings are given by
//! hand below, because their `Serialize` is.

use std::borrow::Cow;
use std::path::Path;
use std::{env, fs};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use strum::VariantArray;

use crate::cause::Cause;
use crate::finding::{RuleId, Severity};
use crate::model::generation::{Base, Context};
use crate::probe::{HandlerKind, Mechanism, Point};
use crate::report::Envelope;
use crate::report::audit::AuditVerdict;
use crate::report::finding::VantageReport;
use crate::report::handler_change::ChangeKind;
use crate::report::handlers::HookKind;
use crate::report::header::Transport;
use crate::report::summary::EndedBy;
use crate::report::transition::BalanceKind;
use crate::rules::guard::Guard;
use crate::units::{Address, Counter, Nanos, PreemptCount, RealtimeOffset, StateWord, WideNumber};

macro_rules! string_of {
    ($($name:ident $pattern:literal $description:literal)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    )*};
}
string_of! {
    RuleId "^RW[0-9]{3}$" "A rule's stable id; ids are never reused."
    Nanos "^[0-9]+$" "Nanoseconds: a time of CLOCK_MONOTONIC, or a length of time."
    RealtimeOffset "^-?[0-9]+$" "Nanoseconds between CLOCK_MONOTONIC and 1970."
    WideNumber "^[0-9]+$" "A number that can pass 2^53."
    StateWord "^0x[0-9a-f]+$" "S: the word whose watching bit says whether RCU watches this CPU."
    Address "^0x[0-9a-f]+$" "A kernel address."
    Counter "^0x[0-9a-f]+$" "N or M, the kernel's signed number in two's complement."
    PreemptCount "^0x[0-9a-f]+$" "P: preempt_count as read, before any mask."
}

fn generate() -> String {
    let schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Envelope>();
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn the_checked_in_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.json");
    let schema = generate();
    if env::var_os("RCU_WATCH_BLESS").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == schema, "docs/schema.json is out of date; run the tests with RCU_WATCH_BLESS=1");
}

#[test]
fn the_name_of_a_word_is_what_the_stream_writes() {
    fn check<Word: VariantArray + Copy + serde::Serialize>(name: impl Fn(Word) -> String) {
        for &word in Word::VARIANTS {
            assert_eq!(serde_json::to_value(word).unwrap(), name(word));
        }
    }
    check(|word: Point| word.name().to_owned());
    check(|word: Mechanism| word.name().to_owned());
    check(|word: HandlerKind| word.name().to_owned());
    check(|word: Severity| word.to_string());
    check(|word: RuleId| word.code().to_owned());
    check(|word: Cause| word.name().to_owned());
    check(|word: Guard| word.name().to_owned());
    check(|word: Context| word.name().to_owned());
    check(|word: Base| word.name().to_owned());
    check(|word: VantageReport| word.name().to_owned());
    check(|word: Transport| word.name().to_owned());
    check(|word: AuditVerdict| word.name().to_owned());
    check(|word: HookKind| word.name().to_owned());
    check(|word: ChangeKind| word.name().to_owned());
    check(|word: EndedBy| word.name().to_owned());
    check(|word: BalanceKind| word.name().to_owned());
}
