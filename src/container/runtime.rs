//! The configuration that an OCI runtime was given, which tools like CRI-O leave beside a container.

use serde::Deserialize;

use super::{Books, Result, file};

/// What the runtime was told to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Entry point and arguments in one.
    pub args: Vec<String>,
    /// Environment, `KEY=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// User and group, as numbers.
    pub user: (u32, u32),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    process: Option<Process>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: String,
    user: Option<User>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    #[serde(rename = "initPid")]
    init_pid: i64,
    pid: i64,
}

/// `None` if there is no such file.
pub(super) fn settings(books: &Books, id: &str) -> Result<Option<RuntimeSettings>> {
    for directory in books.user_data(id) {
        let Some(config) = file::read_json::<Config>(&directory.join("config.json"))? else {
            continue;
        };
        let process = config.process.unwrap_or_default();
        let user = process.user.unwrap_or_default();
        return Ok(Some(RuntimeSettings {
            args: process.args.unwrap_or_default(),
            env: process.env.unwrap_or_default(),
            working_dir: process.cwd,
            user: (user.uid, user.gid),
        }));
    }
    Ok(None)
}

/// The first process of the container, as far as a file tells. What cannot be read tells nothing.
pub(super) fn pid(books: &Books, id: &str) -> Option<i64> {
    books.user_data(id).find_map(|directory| {
        let number = || -> Option<i64> {
            let text = file::read(&directory.join("pidfile")).ok()??;
            std::str::from_utf8(&text).ok()?.trim().parse().ok()
        };
        let state = || -> Option<i64> {
            let state: State = file::read_json(&directory.join("state.json")).ok()??;
            [state.init_pid, state.pid].into_iter().find(|pid| *pid > 0)
        };
        number().or_else(state).filter(|pid| *pid > 0)
    })
}
