//! What happens to the store when the daemon dies, or the system fails it, at one certain system
//! call: `strace` injects both. Every operation that writes is run again and again, with another
//! call each time, and so is what a daemon does that starts on what is left. It also dies at random
//! times while several clients keep it busy.
//!
//! `IMAGED_FAULT_POINTS` says how many calls of each operation are tried (0, and in `make soak`: all
//! of them).
//!
//! Needs root, Podman, `containers-storage` and strace.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod failing;
mod killed;
mod operation;
mod recovering;
mod scene;
mod strace;
mod under_load;
