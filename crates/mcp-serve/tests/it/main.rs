//! The server as its clients see it: over real sockets, with a handler that knows no notes.

mod conformance;
mod drain;
mod edge;
mod fixture;
mod guard;
mod http2;
mod limits;
mod mounted;
mod probes;
