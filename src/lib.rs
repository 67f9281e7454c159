//! `imaged` serves Podman's libpod image API from a containers/storage store.
//!
//! The library is everything but the start of the program, so that tests can call any part of it.
//! It is not meant to be used by other programs, and promises them nothing.
//!
//! # Modules, from the top
//!
//! | module | its one job |
//! |---|---|
//! | [`config`] | flags, environment and the files of the containers tools, read once |
//! | [`server`] | sockets and connections, for any tower service; being told to stop |
//! | [`api`] | paths, parameters, documents and errors as Podman's clients know them |
//! | [`engine`] | what can be done with images: the trait, its options, reports and errors |
//! | [`engine::local`] | what each operation means on a store |
//! | [`archive`] | docker-archive and oci-archive, read and written as streams |
//! | [`registry`] | other servers: downloads, registries, whom to trust and as whom to come |
//! | [`container`] | what other tools know about their containers; stopping their processes |
//! | [`cli`] | the commands for people, `check` and `repair` |
//! | [`storage`] | the store: locks, records, staging, commit, removal, recovery |
//! | [`events`] | the event log, written and read beside Podman |
//! | [`layer`] | a layer's tar applied to a tree, rebuilt from it, made of a container's; compression |
//! | [`task`] | blocking work for async callers: permits, cancellation, bodies |
//! | [`image`] | identifiers, references, manifests and configs; no I/O |
//! | [`sys`] | locks, namespaces, what threads may reach, and the flag that cancels blocking work |
//!
//! A module imports only from those below it; `tests/layering.rs` proves it.
//!
//! # Files on disk
//!
//! | file | read by | written by |
//! |---|---|---|
//! | `storage.conf`, `containers.conf`, `registries.conf`, `short-name-aliases.conf` and their drop-ins | [`config`] | nobody here |
//! | `/etc/subuid`, `/etc/subgid`, Podman's `pause.pid` | [`sys::namespace`] | nobody here |
//! | `GRAPHROOT/overlay*`, `RUNROOT/overlay-layers` | [`storage`], which has the whole tree | [`storage`] |
//! | a layer's `diff` directory and its `tar-split.gz` | [`layer::rebuild()`] | [`layer::unpack()`] |
//! | `GRAPHROOT/db.sql`, `GRAPHROOT/libpod/bolt_state.db`, `overlay-containers/*/userdata/` | [`container`] | nobody here |
//! | `RUNROOT/imaged/frozen/*` | [`container`], which stops processes | [`container`] |
//! | an unnamed file in `TMPDIR` or `/var/tmp`, while an oci-archive is written | [`archive`] | [`archive`] |
//! | `auth.json` and Docker's, `certs.d`, the certificates of the system | [`registry`] | nobody here |
//! | `policy.json`; by skopeo also `registries.d` and keys | [`registry::policy`] | nobody here |
//! | the event log, Podman's or one of its own, and its lock | [`events`] | [`events`] |
//! | the sockets it listens on, and a lock beside each | [`server`] | [`server`] |

pub mod api;
pub mod archive;
pub mod cli;
pub mod config;
pub mod container;
pub mod engine;
pub mod events;
pub mod image;
pub mod layer;
pub mod registry;
pub mod server;
pub mod storage;
pub mod sys;
pub mod task;
