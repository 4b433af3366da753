//! Settings that name hosts, origins and networks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::hosts(data));
