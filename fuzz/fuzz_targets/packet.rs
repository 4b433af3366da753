//! What replicas publish over Redis.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::packet(data));
