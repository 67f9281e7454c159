//! The store through its public door, alone and shared with Podman and `containers-storage`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod alone;
mod processes;
mod shared;
mod support;
