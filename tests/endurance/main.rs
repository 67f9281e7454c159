//! The daemon among clients that stall, leave or come in crowds, beside others that write the same
//! store, and for a long time.
//!
//! `IMAGED_SOAK` makes it long. Needs root, Podman, Buildah, Skopeo, `containers-storage` and
//! `docker-registry`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod growth;
mod left;
mod locks;
mod memory_disk;
mod mix;
mod process;
mod raw;
mod slow_clients;
mod tools;
mod writers;
