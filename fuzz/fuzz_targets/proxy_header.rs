//! What a proxy says in front of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::proxy_header(data));
