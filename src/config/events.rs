//! `containers.conf`: where events are logged.
//!
//! The files are found and merged like those of [`storage`](super::storage). Of their `[engine]` table these keys
//! count: `events_logger`, `events_logfile_path`, `events_logfile_max_size`, and `tmp_dir`, in which the log
//! is unless its path is given. What else Podman goes by is its `--tmpdir`, for which there is a flag
//! here, and the directory that its database remembers, which is one of these unless somebody has
//! changed them since.
//!
//! A store that is not the host's, because of `--root` or `--runroot`, has a log of its own in its
//! run-time directory, whatever the host does with its events.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::EventsLogArg;
use super::toml_file::{find, parse};
use super::{Args, Error, Host, ServeArgs};

/// Podman's limit, in bytes.
const MAX_BYTES: u64 = 1_000_000;

/// Where events are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsConfig {
    /// In a file.
    File {
        /// Absolute.
        path: PathBuf,
        /// When it would be longer than this, its older half is dropped; 0: never.
        max_bytes: u64,
    },
    /// In the journal.
    Journald,
    /// Nowhere.
    None,
}

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    engine: EngineTable,
}

#[derive(Deserialize, Default)]
struct EngineTable {
    events_logger: Option<String>,
    events_logfile_path: Option<String>,
    events_logfile_max_size: Option<Size>,
    tmp_dir: Option<String>,
}

/// Podman takes text, of which it makes a number, and numbers, of which it makes text first.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Size {
    Text(String),
    Number(u64),
}

/// Reads the files of `host`; `run_root` is that of the store.
pub(super) fn load(
    args: &Args,
    serve: &ServeArgs,
    host: &Host,
    run_root: &Path,
) -> Result<EventsConfig, Error> {
    let mut merged = EngineTable::default();
    let mut max_bytes = MAX_BYTES;
    for file in find(host, "containers", "CONTAINERS_CONF")? {
        let table = parse::<File>(&file.path, &file.text)?.engine;
        let wrong =
            |setting: String, problem| Error::Value { path: file.path.clone(), setting, problem };
        match table.events_logfile_max_size {
            Some(Size::Number(size)) => max_bytes = size,
            Some(Size::Text(size)) if !size.is_empty() => {
                let setting = || format!("events_logfile_max_size = {size:?}");
                max_bytes = bytes(&size).ok_or_else(|| wrong(setting(), "not a size"))?;
            }
            _ => {}
        }
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        if let Some(logger) = given(table.events_logger) {
            if !matches!(&*logger.to_lowercase(), "file" | "journald" | "none") {
                let setting = format!("events_logger = {logger:?}");
                return Err(wrong(setting, "neither \"file\" nor \"journald\" nor \"none\""));
            }
            merged.events_logger = Some(logger.to_lowercase());
        }
        merged.events_logfile_path =
            given(table.events_logfile_path).or(merged.events_logfile_path);
        merged.tmp_dir = given(table.tmp_dir).or(merged.tmp_dir);
    }
    let file = |path| EventsConfig::File { path, max_bytes };
    match &serve.events_log {
        Some(EventsLogArg::None) => return Ok(EventsConfig::None),
        Some(EventsLogArg::File(path)) => return Ok(file(path.clone())),
        None => {}
    }
    let own_store = args.root.is_some() || args.runroot.is_some();
    let logger = merged.events_logger.as_deref();
    let logger = logger.unwrap_or(if keeps_journal(host) { "journald" } else { "file" });
    match logger {
        "none" => Ok(EventsConfig::None),
        _ if own_store => Ok(file(run_root.join("events/events.log"))),
        "journald" => Ok(EventsConfig::Journald),
        _ => log_path(&merged, host).map(file),
    }
}

fn log_path(table: &EngineTable, host: &Host) -> Result<PathBuf, Error> {
    let absolute = |what, path: &str| {
        let relative = || Error::Relative { what, path: path.to_owned() };
        Some(PathBuf::from(path)).filter(|path| path.is_absolute()).ok_or_else(relative)
    };
    if let Some(path) = &table.events_logfile_path {
        return absolute("events_logfile_path", path);
    }
    let directory = match &table.tmp_dir {
        Some(directory) => absolute("tmp_dir", directory)?,
        None if host.is_rootless() => host.runtime_dir().join("libpod/tmp"),
        None => host.system("/run/libpod"),
    };
    Ok(directory.join("events/events.log"))
}

/// Whether Podman would log to the journal: systemd runs, and there is a journal to read.
fn keeps_journal(host: &Host) -> bool {
    let has_journal = |directory: &str| {
        let entries = std::fs::read_dir(host.system(directory));
        let mut entries = entries.into_iter().flatten().flatten();
        entries.any(|entry| entry.path().is_dir() && std::fs::read_dir(entry.path()).is_ok())
    };
    host.system("/run/systemd/system").is_dir()
        && ["/run/log/journal", "/var/log/journal"].into_iter().any(has_journal)
}

/// A size as people write it, in decimal units: `500`, `1m`, `1.5 kB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | ' ');
    let at = text.rfind(digits)? + 1;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let (prefix, rest) = unit.split_at(unit.chars().next().map_or(0, char::len_utf8));
    let factor: f64 = match (prefix, rest) {
        ("" | "b", "") => 1.0,
        ("k", "" | "b" | "ib") => 1e3,
        ("m", "" | "b" | "ib") => 1e6,
        ("g", "" | "b" | "ib") => 1e9,
        ("t", "" | "b" | "ib") => 1e12,
        ("p", "" | "b" | "ib") => 1e15,
        _ => return None,
    };
    let size = number * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (0.0..9e18).contains(&size).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Command;

    /// Loads from files below a made-up root, for a user of that number. `ROOT` stands for it.
    fn load_as(
        uid: u32,
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<EventsConfig, String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let place = |text: &str| text.replace("ROOT", root.path().to_str().unwrap());
        let unplace = |text: &str| text.replace(root.path().to_str().unwrap(), "ROOT");
        let variables = variables.iter().map(|(name, value)| (name.into(), place(value).into()));
        let home = Some(root.path().join("home"));
        let host = Host::new(variables, uid, uid != 0, home).with_system_root(root.path());
        let flags: Vec<String> = flags.iter().map(|flag| place(flag)).collect();
        let (store, serve) = flags.split_at(flags.iter().position(|it| it == "serve").unwrap());
        let words = ["imaged".to_owned()].into_iter().chain(store.iter().cloned());
        let args = Args::read(words.chain(serve.iter().cloned())).unwrap();
        let Command::Serve(serve) = &args.command else { panic!("{args:?}") };
        match load(&args, serve, &host, &root.path().join("runroot")) {
            Ok(EventsConfig::File { path, max_bytes }) => {
                let path = unplace(path.to_str().unwrap()).into();
                Ok(EventsConfig::File { path, max_bytes })
            }
            Ok(other) => Ok(other),
            Err(error) => Err(unplace(&error.to_string())),
        }
    }

    fn file(path: &str, max_bytes: u64) -> EventsConfig {
        EventsConfig::File { path: path.into(), max_bytes }
    }

    const ETC: &str = "etc/containers/containers.conf";

    #[test]
    fn the_files_decide() {
        let default = file("ROOT/run/libpod/events/events.log", MAX_BYTES);
        let serve: &[&str] = &["serve"];
        for (files, expected) in [
            (&[][..], default.clone()),
            (&[(ETC, "[engine]\nevents_logger = ''\ntmp_dir = ''\n[network]\nx = 1")], default),
            (&[(ETC, "[engine]\nevents_logger = 'None'")], EventsConfig::None),
            (&[(ETC, "[engine]\nevents_logger = 'journald'")], EventsConfig::Journald),
            (
                &[(ETC, "[engine]\ntmp_dir = '/t'\nevents_logfile_max_size = '2k'")],
                file("/t/events/events.log", 2000),
            ),
            (
                &[
                    (ETC, "[engine]\ntmp_dir = '/t'\nevents_logfile_max_size = 7"),
                    (
                        "etc/containers/containers.conf.d/1.conf",
                        "[engine]\nevents_logfile_path = '/e/log'",
                    ),
                    ("usr/share/containers/containers.conf", "[engine]\nevents_logger = 'none'"),
                    ("home/.config/containers/containers.conf", "[engine]\nevents_logger = 'none'"),
                ],
                file("/e/log", 7),
            ),
            (&[("run/systemd/system/x", "")], file("ROOT/run/libpod/events/events.log", MAX_BYTES)),
            (&[("run/systemd/system/x", ""), ("var/log/journal/1/x", "")], EventsConfig::Journald),
        ] {
            assert_eq!(load_as(0, files, &[], serve), Ok(expected), "{files:?}");
        }
        let runtime: &[_] = &[("XDG_RUNTIME_DIR", "/run/user/7")];
        let users = file("/run/user/7/libpod/tmp/events/events.log", MAX_BYTES);
        assert_eq!(load_as(7, &[], runtime, serve), Ok(users));
        let own = ("home/.config/containers/containers.conf", "[engine]\nevents_logger = 'none'");
        assert_eq!(load_as(7, &[own], runtime, serve), Ok(EventsConfig::None));
        let other = ("other.conf", "[engine]\nevents_logfile_path = '/o/log'");
        let last = ("last.conf", "[engine]\nevents_logfile_max_size = '0'");
        let variables: &[_] = &[
            ("CONTAINERS_CONF", "ROOT/other.conf"),
            ("CONTAINERS_CONF_OVERRIDE", "ROOT/last.conf"),
        ];
        assert_eq!(load_as(7, &[own, other, last], variables, serve), Ok(file("/o/log", 0)));
    }

    #[test]
    fn private_stores_and_flags() {
        let own = file("ROOT/runroot/events/events.log", MAX_BYTES);
        let journal: &[_] = &[("run/systemd/system/x", ""), ("var/log/journal/1/x", "")];
        let path: &[_] = &[(ETC, "[engine]\nevents_logfile_path = '/e/log'")];
        let none: &[_] = &[(ETC, "[engine]\nevents_logger = 'none'")];
        for (files, flags, expected) in [
            (journal, &["--root=ROOT/g", "serve"][..], own.clone()),
            (path, &["--runroot=ROOT/r", "serve"], own),
            (none, &["--root=ROOT/g", "serve"], EventsConfig::None),
            (none, &["serve", "--events-log=/x/log"], file("/x/log", MAX_BYTES)),
            (path, &["--root=ROOT/g", "serve", "--events-log=/x/log"], file("/x/log", MAX_BYTES)),
            (path, &["serve", "--events-log=none"], EventsConfig::None),
        ] {
            assert_eq!(load_as(0, files, &[], flags), Ok(expected), "{files:?} {flags:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            (
                "events_logger = 'paper'",
                "ROOT/etc/containers/containers.conf: events_logger = \"paper\": neither \"file\" nor \"journald\" nor \"none\"",
            ),
            (
                "events_logfile_max_size = 'big'",
                "ROOT/etc/containers/containers.conf: events_logfile_max_size = \"big\": not a size",
            ),
            ("tmp_dir = 't'", "tmp_dir must be an absolute path, not \"t\""),
            (
                "events_logfile_path = 't'",
                "events_logfile_path must be an absolute path, not \"t\"",
            ),
        ] {
            let file = (ETC, &*format!("[engine]\n{text}"));
            assert_eq!(load_as(0, &[file], &[], &["serve"]), Err(message.into()));
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", Some(0)),
            ("500", Some(500)),
            ("1m", Some(1_000_000)),
            ("1MB", Some(1_000_000)),
            ("1.5 kB", Some(1_500)),
            ("2KiB", Some(2_000)),
            ("7b", Some(7)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1bb", None),
            ("1mi", None),
            ("1e99p", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }
}
