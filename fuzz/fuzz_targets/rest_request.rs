//! Requests to the REST API.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::rest_request(data));
