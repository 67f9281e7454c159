//! Flags, environment, `storage.conf`, `containers.conf` and `registries.conf`, read once at start into one immutable
//! [`Config`].
//!
//! Nothing here looks at the process: the environment, the user and the root of the file system
//! are in [`Host`], which tests fill as they like. Nothing is written, and nothing is read again
//! after start.
//!
//! | file | rules |
//! |---|---|
//! | `storage.conf` and its drop-ins | [`storage`]: where the store is, the overlay options |
//! | `containers.conf` and its drop-ins | [`events`]: where events are logged |
//! | `registries.conf` and its drop-ins, `short-name-aliases.conf` | [`registries`]: how short names are read, and which registries are insecure or blocked |

mod args;
pub mod events;
mod host;
mod listen;
pub mod registries;
pub mod storage;
mod toml_file;

use std::path::PathBuf;
use std::time::Duration;

use crate::image::{PolicyFile, Registries, ShortNames};

pub use args::{
    Args, CheckArgs, Command, EventsLogArg, LimitArgs, LookArgs, RepairArgs, ServeArgs, SyncArg,
};
pub use events::EventsConfig;
pub use host::Host;
pub use listen::{Listen, ListenError};
pub use storage::{ForceMask, OverlayConfig, StorageConfig, Sync};

/// Everything the program was told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The store.
    pub storage: StorageConfig,
    /// Where events are logged.
    pub events: EventsConfig,
    /// How names without a registry are looked up.
    pub short_names: ShortNames,
    /// What the host says about other servers.
    pub registry: RegistryConfig,
    /// What one request may unpack.
    pub limits: LimitArgs,
    /// The server.
    pub serve: ServeConfig,
}

/// What the host says about other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The tables of `registries.conf`.
    pub registries: Registries,
    /// The main file of these, if the environment names it.
    pub registries_conf: Option<PathBuf>,
    /// Files with logins, the first that knows a registry counts. They need not exist.
    pub auth_files: Vec<PathBuf>,
    /// Where certificates of registries are, the first that has some counts.
    pub certs_directories: Vec<PathBuf>,
    /// Which images may be used.
    pub policy: PolicyFile,
    /// Longest body that is downloaded for an import, bytes.
    pub download_limit: u64,
    /// Where the Docker daemon is, if `DOCKER_HOST` says.
    pub docker_host: Option<String>,
}

/// Where and how to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Addresses asked for by flag. Empty: the sockets that systemd passed, else
    /// [`default_socket`](Self::default_socket).
    pub listen: Vec<Listen>,
    /// The socket of this user when nothing else was asked for.
    pub default_socket: PathBuf,
    /// Permission bits of Unix sockets.
    pub socket_mode: u32,
    /// Exit after this time without a connection. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Connections served at the same time.
    pub connections: u32,
    /// How long a client may keep a body from moving. `None`: for ever.
    pub stall_timeout: Option<Duration>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was asked for, or that exists, cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file is not valid TOML, or a value has the wrong type.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A driver other than overlay.
    #[error("storage driver {driver:?} ({origin}) is not supported, only \"overlay\" is")]
    Driver {
        /// The driver asked for.
        driver: String,
        /// Which file, variable or flag asked.
        origin: String,
    },
    /// A driver option that does not exist or has a wrong value.
    #[error("storage option {option:?}: {problem}")]
    Option {
        /// As given.
        option: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that means nothing.
    #[error("{}: {setting}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Key and value.
        setting: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A directory that has to be absolute is not.
    #[error("{what} must be an absolute path, not {path:?}")]
    Relative {
        /// Which directory.
        what: &'static str,
        /// As given.
        path: String,
    },
    /// The user's home directory is needed and not known.
    #[error("the home directory of user {uid} is not known: set HOME")]
    NoHome {
        /// The user.
        uid: u32,
    },
    /// An address that cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl StorageConfig {
    /// Reads the files that say where the store is, and puts `args` on top. Blocking; a handful of
    /// small reads.
    pub fn load(args: &Args, host: &Host) -> Result<Self, Error> {
        storage::load(args, host)
    }
}

impl Config {
    /// Reads the files that apply and puts `args`, with those of `serve`, on top. Blocking; a handful
    /// of small reads.
    pub fn load(args: &Args, serve: &ServeArgs, host: &Host) -> Result<Self, Error> {
        let mut storage = storage::load(args, host)?;
        if let Some(sync) = serve.sync {
            storage.overlay.sync = sync.into();
        }
        let allow_any = serve.allow_unauthenticated_tcp;
        let listen = serve
            .listen
            .iter()
            .map(|text| Listen::parse(text, allow_any))
            .collect::<Result<_, _>>()?;
        let (short_names, registries) = registries::load(host)?;
        Ok(Self {
            events: events::load(args, serve, host, &storage.run_root)?,
            storage,
            short_names,
            registry: RegistryConfig {
                registries,
                auth_files: registries::auth_files(host),
                certs_directories: registries::certs_directories(host),
                registries_conf: registries::named_file(host),
                policy: registries::policy_file(serve.signature_policy.as_deref(), host),
                download_limit: serve.download_limit,
                docker_host: registries::docker_host(host),
            },
            limits: serve.limits,
            serve: ServeConfig {
                listen,
                default_socket: host.runtime_dir().join("imaged/imaged.sock"),
                socket_mode: serve.socket_mode,
                idle_timeout: unless_zero(serve.idle_timeout),
                connections: serve.connections,
                stall_timeout: unless_zero(serve.stall_timeout),
            },
        })
    }
}

/// Zero seconds mean: never.
fn unless_zero(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
