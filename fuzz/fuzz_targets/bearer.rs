//! The field that holds a token.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::bearer(data));
