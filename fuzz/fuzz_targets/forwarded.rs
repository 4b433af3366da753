//! What proxies say of a client in header fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::forwarded(data));
