//! Attacks on whoever unpacks images, one test for each, sent to the daemon over its socket.
//!
//! Beside the store lies a tree that attacks aim at. It is watched from outside: whoever opens, reads
//! or changes anything in it is seen. What is refused leaves the store as it was; what is accepted,
//! because it does no harm, leaves a store that Podman and the suite's own checker find sound.
//!
//! `tests/layer/hostile.rs` has the same at the library's door, entry by entry. Needs root and the tools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../layer/builder.rs"]
mod builder;
#[allow(dead_code, reason = "here faults are only watched")]
#[path = "../faults/strace.rs"]
mod strace;
#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod below;
mod bombs;
mod canary;
mod configs;
mod confined;
mod digests;
mod documents;
mod headers;
mod members;
mod names;
mod rootless;
mod scene;
mod sizes;
mod traversal;
