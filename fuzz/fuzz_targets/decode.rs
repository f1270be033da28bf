//! Any bytes are a record or a typed error, and what is a record survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcu_watch_core::decode::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(snapshot) = decode(bytes, 256) {
        assert_eq!(decode(&encode(&snapshot), 256), Ok(snapshot));
    }
});
