//! `imaged check` and `imaged repair` on stores that other tools made, whole and damaged by hand.
//!
//! Each damage is judged by the suite's own checker, too, which shares no code with the program: both
//! complain, or neither does. Needs root and the tools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod damaged_images;
mod damaged_layers;
mod killed;
mod leftovers;
mod refused;
mod scene;
mod sound;
