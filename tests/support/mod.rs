//! What the suites that use real stores and real tools share: a private store with its peers
//! (Podman, Buildah, Skopeo, `containers-storage`), the daemon, a client, images, and an
//! independent judge of the store's files. Nothing here uses the library under test.
//!
//! A missing peer tool fails the test that needs it; nothing is ever skipped.
#![allow(dead_code, unused_imports, reason = "every suite uses a part of it")]

pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod debian;
pub(crate) mod events;
pub(crate) mod faulty;
pub(crate) mod http;
pub(crate) mod registry;
pub(crate) mod remains;
pub(crate) mod saved;
pub(crate) mod server;
pub(crate) mod soak;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod tool;
pub(crate) mod tree;
pub(crate) mod web;

pub(crate) use archive::{DockerArchive, Layer, OciArchive};
pub(crate) use faulty::{Fault, Faulty};
pub(crate) use http::{Client, Response};
pub(crate) use server::Server;
pub(crate) use store::Store;
