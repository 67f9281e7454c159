//! Whether a container may be taken away.
//!
//! Four witnesses are heard: Podman's database, which knows states in which there is no process yet or
//! none any more; the control groups of all processes, which runtimes name after containers; the
//! mounts of all namespaces, also those that the store's own list does not have; and the number of
//! the first process that runtimes leave in a file. If only one of them speaks against it, the
//! container stays: who is taken for running and is not can be removed by its own tool.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::{Books, Error, PodmanSettings, Result, podman, runtime};
use crate::sys::Cancel;

/// Why a container must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Podman says so: "running" and the like.
    State(&'static str),
    /// This process is one of it.
    Process(i64),
    /// Its layer is mounted where this process is.
    Mounted(i64),
    /// This container uses its namespaces.
    Dependent(String),
    /// It holds the namespaces of this pod.
    Pod(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "it is {state}"),
            Self::Process(pid) => write!(f, "it is running, with process {pid}"),
            Self::Mounted(pid) => write!(f, "it is mounted where process {pid} is"),
            Self::Dependent(container) => write!(f, "container {container} depends on it"),
            Self::Pod(pod) => write!(f, "it holds pod {pod} together"),
        }
    }
}

/// How it stands with a container.
#[derive(Debug)]
pub enum Standing {
    /// Nothing speaks against its removal. If it is one of Podman's, that has more to tell.
    Idle(Option<Box<PodmanSettings>>),
    /// It must stay.
    Busy(Obstacle),
}

/// All processes of the host that can be seen, at one moment.
#[derive(Debug, Default)]
pub struct Processes {
    /// Texts of `/proc/<pid>/cgroup`.
    groups: Vec<(i64, String)>,
    /// Texts of `/proc/<pid>/mountinfo`, one for each mount namespace.
    mounts: Vec<(i64, String)>,
}

impl Processes {
    /// Looks at all processes. Those that may not be looked at, or end meanwhile, are left out.
    ///
    /// # Errors
    /// Without `/proc` nothing can be told.
    pub fn look(cancel: &Cancel) -> Result<Self> {
        let proc = Path::new("/proc");
        let mut found = Self::default();
        let mut namespaces = HashSet::new();
        for entry in fs::read_dir(proc).map_err(Error::io("listing", proc))? {
            cancel.check()?;
            let entry = entry.map_err(Error::io("listing", proc))?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            if let Ok(groups) = fs::read_to_string(path.join("cgroup")) {
                found.groups.push((pid, groups));
            }
            if let Ok(namespace) = fs::read_link(path.join("ns/mnt"))
                && namespaces.insert(namespace)
                && let Ok(mounts) = fs::read(path.join("mountinfo"))
            {
                found.mounts.push((pid, String::from_utf8_lossy(&mounts).into_owned()));
            }
        }
        Ok(found)
    }

    /// The first process in a control group that is named after the container.
    fn of_container(&self, id: &str) -> Option<i64> {
        let named = |groups: &str| !id.is_empty() && groups.contains(id);
        self.groups.iter().filter(|(_, groups)| named(groups)).map(|(pid, _)| *pid).min()
    }

    /// A process where the layer is mounted, as the upper directory of an overlay or at its place.
    fn with_layer(&self, layer: &str) -> Option<i64> {
        let upper = format!("/{layer}/diff");
        let point = format!("/{layer}/merged ");
        let mounted = |mounts: &str| {
            mounts.lines().any(|line| {
                let upper = line.split(',').any(|option| {
                    option.strip_prefix("upperdir=").is_some_and(|it| it.ends_with(&upper))
                });
                upper || line.contains(&point)
            })
        };
        self.mounts.iter().find(|(_, mounts)| mounted(mounts)).map(|(pid, _)| *pid)
    }
}

impl Books {
    /// How it stands with a container of the store, of which `layer` is the layer.
    ///
    /// # Errors
    /// A book that cannot be read.
    pub fn standing(
        &self,
        processes: &Processes,
        container: &str,
        layer: &str,
        cancel: &Cancel,
    ) -> Result<Standing> {
        let podman = podman::status(self, container, cancel)?;
        let of_runtime = || {
            // Podman leaves the file behind; but then it also says that there is no process.
            let pid = runtime::pid(self, container).filter(|_| podman.is_none())?;
            Path::new("/proc").join(pid.to_string()).exists().then_some(pid)
        };
        let obstacle = podman
            .as_ref()
            .and_then(|status| status.busy.map(Obstacle::State))
            .or_else(|| processes.of_container(container).map(Obstacle::Process))
            .or_else(|| of_runtime().map(Obstacle::Process))
            .or_else(|| processes.with_layer(layer).map(Obstacle::Mounted))
            .or_else(|| {
                let status = podman.as_ref()?;
                let pod = || status.is_infra.then(|| status.settings.pod_id.clone());
                pod()
                    .map(Obstacle::Pod)
                    .or_else(|| status.dependent.clone().map(Obstacle::Dependent))
            });
        Ok(match obstacle {
            Some(obstacle) => Standing::Busy(obstacle),
            None => Standing::Idle(podman.map(|status| Box::new(status.settings))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_known_by_their_groups() {
        let mut processes = Processes::default();
        processes.groups.push((7, "0::/user.slice\n".into()));
        processes.groups.push((8, "0::/machine.slice/libpod-c1.scope/container\n".into()));
        assert_eq!(processes.of_container("c1"), Some(8));
        assert_eq!(processes.of_container("c2"), None);
        assert_eq!(processes.of_container(""), None);
    }

    #[test]
    fn mounts_of_all_namespaces_count() {
        let mounts = "36 35 0:30 / / rw - overlay overlay rw,lowerdir=/s/l/A:/s/l/B,upperdir=/s/overlay/up/diff,workdir=/s/overlay/up/work\n\
                      37 35 0:31 / /s/overlay/point/merged rw - fuse.fuse-overlayfs x rw\n\
                      38 35 0:32 / /s/overlay/other/merged/proc rw - proc proc rw\n";
        let mut processes = Processes::default();
        processes.mounts.push((6, String::new()));
        processes.mounts.push((9, mounts.into()));
        for (layer, found) in [("up", Some(9)), ("point", Some(9)), ("other", None), ("A", None)] {
            assert_eq!(processes.with_layer(layer), found, "{layer}");
        }
    }

    #[test]
    fn we_see_ourselves() {
        let processes = Processes::look(&Cancel::new()).unwrap();
        let own = i64::from(std::process::id());
        assert!(processes.groups.iter().any(|(pid, _)| *pid == own));
        assert!(!processes.mounts.is_empty());
        assert_eq!(processes.with_layer(&"7".repeat(64)), None);
    }
}
