//! Markdown of notes: its HTML holds nothing but what is allowed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::markdown(data));
