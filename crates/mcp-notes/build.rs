//! Tells the program what it is built from: the compiler, and the revision of the source where
//! `SOURCE_REVISION` says it.

use std::{env, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output();
    let said = said.map_or_else(|_| Vec::new(), |output| output.stdout);
    let said = String::from_utf8_lossy(&said);
    // `rustc 1.95.0 (...)`
    let version = said.split(' ').nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=BUILD_RUSTC={version}");
    let revision = env::var("SOURCE_REVISION").ok();
    let fits = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let revision = revision.filter(fits);
    let revision = revision.as_deref().unwrap_or("unknown");
    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    println!("cargo::rerun-if-env-changed=SOURCE_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
}
