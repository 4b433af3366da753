//! The form of an API token and of its hash.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::token(data));
