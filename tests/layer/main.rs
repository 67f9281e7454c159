//! Layers through the public door: trees and tars made by other tools, and hostile ones.
//!
//! Owners, devices and `trusted` attributes need root, as the daemon has it in its user namespace; run
//! by anyone else most of these tests say so and do nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod apply;
mod builder;
mod gnu_tar;
mod hostile;
mod podman;
mod random;
mod support;
mod vector;
