//! What happens to the store on disks that are full, and on disks that lose power: real file systems
//! on block devices whose content is in the memory of the test.
//!
//! | file | its one job |
//! |---|---|
//! | `disk` | a disk: its blocks, and a recording of what is written |
//! | `rack` | disks as files, so that the kernel can make block devices of them |
//! | `mounted` | file systems on them |
//! | `recorded` | requests on a disk that is recorded, and cuts of its power |
//! | `power_cut` | what was answered is there after any loss of power |
//! | `full` | a full disk fails requests, and nothing else |
//!
//! Needs root, loop devices, FUSE, Podman, Buildah, `containers-storage` and the programs that make
//! ext4, XFS and Btrfs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod full;
mod mounted;
mod power_cut;
mod rack;
mod recorded;
