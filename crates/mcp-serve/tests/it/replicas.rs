//! Sessions of the older revisions over three replicas: whatever belongs to a session works at
//! whichever of them it arrives.

mod ends;
mod nginx;
mod questions;
mod resumed;
mod robin;
mod stage;
mod streams;
