//! The libpod routes, one file each.
//!
//! A handler decodes, calls the engine once or twice, and picks the status and the words that its
//! route gives to a failure. Handlers do not know of each other.

#![allow(unused_qualifications, reason = "utoipa's macros name parameters by path")]

pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod disk_usage;
pub(crate) mod events;
pub(crate) mod exists;
pub(crate) mod export;
mod format;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod local_load;
pub(crate) mod ping;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod remove_one;
pub(crate) mod resolve;
pub(crate) mod scp;
pub(crate) mod search;
pub(crate) mod tag;
pub(crate) mod tree;
pub(crate) mod unserved;
pub(crate) mod untag;
pub(crate) mod version;

use std::sync::Arc;

use axum::extract::State;

use crate::engine::ImageEngine;

/// How handlers get the engine.
type Engine = State<Arc<dyn ImageEngine>>;
