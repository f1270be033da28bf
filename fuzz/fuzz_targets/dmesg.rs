//! Any log is read to its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcu_watch_core::dmesg::Parser;

fuzz_target!(|bytes: &[u8]| {
    let mut parser = Parser::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        parser.line(&String::from_utf8_lossy(line));
    }
    parser.finish();
});
