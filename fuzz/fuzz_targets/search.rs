//! What people search for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::search(data));
