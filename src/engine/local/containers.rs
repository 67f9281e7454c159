//! Containers that go with their image.
//!
//! Their owners are asked before the store is locked: a database may be busy, and whoever has it may
//! wait for the store. What can change afterwards shows in the store itself: a container that starts
//! is mounted first, under a lock that its removal holds.
//!
//! Podman has a record of its own for each of its containers. It is left as it is: the database belongs
//! to Podman, which copes with a container that is in it and not in the store. It lists it, and
//! `podman rm` takes it out. Containers that hold others together are not removed: Podman would not
//! do that either, or take the whole pod.

use std::collections::{HashMap, HashSet};

use super::{Shared, failure};
use crate::container::{Books, PodmanSettings, Processes, Standing};
use crate::engine::{Event, Result};
use crate::storage::record::{ContainerRecord, Record};
use crate::sys::Cancel;

/// Containers that nothing speaks against removing.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    ids: HashSet<String>,
    /// What is to be told of those of them that are Podman's.
    events: HashMap<String, Event>,
}

impl Cleared {
    /// Asks about containers that were not asked about yet.
    ///
    /// # Errors
    /// [`InUse`](crate::engine::ErrorKind::InUse) for the first that must stay; the others may not
    /// have been asked about.
    pub(super) fn ask(
        &mut self,
        shared: &Shared,
        containers: &[Record<ContainerRecord>],
        cancel: &Cancel,
    ) -> Result<()> {
        let processes = Processes::look(cancel).map_err(failure::container)?;
        for container in containers {
            match standing(shared, &processes, container, cancel)? {
                Standing::Busy(obstacle) => {
                    return Err(failure::in_use_despite_force(container, &obstacle));
                }
                Standing::Idle(podman) => self.enter(container, podman.as_deref()),
            }
        }
        Ok(())
    }

    /// Those of the containers that are not Podman's and that nothing speaks against removing.
    pub(super) fn foreign(
        shared: &Shared,
        containers: &[Record<ContainerRecord>],
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut cleared = Self::default();
        if containers.is_empty() {
            return Ok(cleared);
        }
        let processes = Processes::look(cancel).map_err(failure::container)?;
        for container in containers {
            match standing(shared, &processes, container, cancel)? {
                Standing::Idle(None) => cleared.enter(container, None),
                Standing::Idle(Some(_)) => {}
                Standing::Busy(obstacle) => {
                    tracing::debug!(container = container.id, %obstacle, "not pruned");
                }
            }
        }
        Ok(cleared)
    }

    fn enter(&mut self, container: &ContainerRecord, podman: Option<&PodmanSettings>) {
        self.ids.insert(container.id.clone());
        if let Some(settings) = podman {
            let event = Event {
                image: settings.image_name.clone(),
                pod_id: settings.pod_id.clone(),
                attributes: settings.labels.clone(),
                ..event(container, "remove")
            };
            self.events.insert(container.id.clone(), event);
        }
    }

    /// Their IDs.
    pub(super) fn ids(&self) -> &HashSet<String> {
        &self.ids
    }

    /// What is to be told when these containers are removed.
    pub(super) fn events<'a>(&self, removed: impl Iterator<Item = &'a String>) -> Vec<Event> {
        removed.filter_map(|id| self.events.get(id)).cloned().collect()
    }
}

/// The books of the containers of this store.
pub(super) fn books(shared: &Shared) -> Books {
    let options = shared.store.options();
    Books { graph_root: options.graph_root.clone(), run_root: options.run_root.clone() }
}

/// What happened to a container, without what only its owner knows.
pub(super) fn event(container: &ContainerRecord, action: &str) -> Event {
    Event {
        id: container.id.clone(),
        name: container.names.first().cloned().unwrap_or_default(),
        ..Event::now("container", action)
    }
}

fn standing(
    shared: &Shared,
    processes: &Processes,
    container: &ContainerRecord,
    cancel: &Cancel,
) -> Result<Standing> {
    let layer = container.layer.as_str();
    let standing = books(shared).standing(processes, &container.id, layer, cancel);
    standing.map_err(|error| {
        failure::container(error).context(format!("asking about container {:?}", container.id))
    })
}
