//! The file of API tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::tokens_file(data));
