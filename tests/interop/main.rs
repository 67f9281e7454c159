//! Real stores, real tools: the daemon beside Podman, Buildah, Skopeo and `containers-storage`.
//!
//! Needs root (mounts, owners, device nodes), the tools, and a Debian mirror for the first run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod commit;
mod concurrent;
mod crash;
mod directories;
mod download;
mod events;
mod force;
mod formats;
mod freeze;
mod import;
mod lists;
mod load;
mod names;
mod policy;
mod prune;
mod pull;
mod push;
mod push_tls;
mod reading;
mod refused;
mod registries;
mod remote;
mod search;
mod several;
mod sockets;
mod sqlite;
