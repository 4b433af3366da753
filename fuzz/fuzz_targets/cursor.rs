//! Cursors of lists and searches.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::cursor(data));
