//! What other tools know about their containers.
//!
//! The store has a record of every container, with its image and its layer, but not what it would
//! run: that is in the books of the tool that made it. They are only read here, as carefully as any
//! input from elsewhere, and never kept from their owners for longer than one look takes.
//!
//! | owner | book |
//! |---|---|
//! | Podman 6 (and 5) | `GRAPHROOT/db.sql`, SQLite; of a transient store `RUNROOT/db.sql` |
//! | Podman up to 5 | `GRAPHROOT/libpod/bolt_state.db`, BoltDB |
//! | Buildah | `GRAPHROOT/overlay-containers/<container>/userdata/buildah.json` |
//! | CRI-O and others | `config.json` of the runtime, in that directory or the one below `RUNROOT` |
//!
//! Processes of a container can be [frozen](freeze()) while its files are read. Whether it may be taken
//! away is asked with [`Books::standing`].

mod bolt;
mod buildah;
mod cgroup;
mod error;
mod file;
mod freezer;
mod idle;
mod podman;
mod runtime;
mod sqlite;

use std::path::PathBuf;

pub use buildah::BuildahSettings;
pub use error::Error;
pub use freezer::{Frozen, freeze, thaw_abandoned};
pub use idle::{Obstacle, Processes, Standing};
pub use podman::PodmanSettings;
pub use runtime::RuntimeSettings;

use crate::sys::Cancel;

/// Result of this module's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the books are.
#[derive(Debug, Clone)]
pub struct Books {
    /// The store's graph root.
    pub graph_root: PathBuf,
    /// The store's run root.
    pub run_root: PathBuf,
}

/// What is known about a container besides the store's record.
#[derive(Debug)]
pub struct Container {
    /// What it runs, and who says so.
    pub settings: Settings,
    /// Its first process, if there is one.
    pub process: Option<Process>,
}

/// What a container runs, in the words of its owner.
#[derive(Debug)]
pub enum Settings {
    /// From Podman's database.
    Podman(Box<PodmanSettings>),
    /// From Buildah's file.
    Buildah(Box<BuildahSettings>),
    /// From the configuration of the runtime.
    Runtime(RuntimeSettings),
    /// Nobody says anything.
    Unknown,
}

/// A process of a container, in a control group whose name has the container's ID in it; so it is
/// not another one that got the same number.
#[derive(Debug, Clone)]
pub struct Process {
    /// The directory of the container's control group.
    group: cgroup::Group,
    /// The container's owner says that it is paused.
    pub paused: bool,
}

impl Books {
    /// Looks a container of the store up in all books.
    ///
    /// # Errors
    /// A book that cannot be read, or is not what it should be: another one would only tell a part.
    pub fn container(&self, id: &str, cancel: &Cancel) -> Result<Container> {
        if let Some(found) = podman::container(self, id, cancel)? {
            let process = cgroup::process(found.pid, id, found.paused);
            return Ok(Container { settings: Settings::Podman(Box::new(found.settings)), process });
        }
        if let Some(settings) = buildah::settings(self, id)? {
            return Ok(Container {
                settings: Settings::Buildah(Box::new(settings)),
                process: None,
            });
        }
        let process = cgroup::process(runtime::pid(self, id), id, false);
        let settings = runtime::settings(self, id)?.map_or(Settings::Unknown, Settings::Runtime);
        Ok(Container { settings, process })
    }

    /// Directories of files that owners keep about a container, lasting ones first.
    fn user_data(&self, id: &str) -> impl Iterator<Item = PathBuf> {
        // The ID is a name in a record; should it have slashes, nothing is there.
        let id = id.replace('/', "");
        [&self.graph_root, &self.run_root]
            .map(|root| root.join("overlay-containers").join(&id).join("userdata"))
            .into_iter()
    }

    fn sqlite_files(&self) -> [PathBuf; 2] {
        [&self.graph_root, &self.run_root].map(|root| root.join("db.sql"))
    }

    fn bolt_file(&self) -> PathBuf {
        self.graph_root.join("libpod/bolt_state.db")
    }
}
