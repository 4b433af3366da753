//! Requests to the MCP endpoint of both eras, with all layers before it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notes_fuzz::mcp_request(data));
