//! The notes server under attack: each test is named after its threat, and `docs/security.md` names
//! each test. What needs no notes is attacked in the tests of `mcp-serve`.

mod bombs;
mod flood;
mod logs;
mod paths;
mod texts;
