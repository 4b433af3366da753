//! What replicas tell each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::signal(data));
