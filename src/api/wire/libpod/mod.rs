//! The documents of the libpod routes.

mod disk;
mod event;
mod image;
mod pull;
mod remove;
mod search;
mod system;

pub(crate) use disk::{Changed, DiskUsage};
pub(crate) use event::Event;
pub(crate) use image::{
    Commit, CommitRecord, History, Import, Inspect, Load, PushRecord, Resolved, Summary, Tree,
};
pub(crate) use pull::{DockerError, DockerPullRecord, DockerStreamError, PullRecord, Pulled};
pub(crate) use remove::{Pruned, Remove};
pub(crate) use search::Search;
pub(crate) use system::{Info, Version};

/// For `skip_serializing_if`: keys that Podman leaves out when their value says nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Lists that are null when empty.
fn null_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
