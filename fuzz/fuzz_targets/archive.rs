//! Archives of backups, as somebody else may have written them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::archive(data));
