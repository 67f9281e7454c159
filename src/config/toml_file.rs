//! TOML files with the place of a mistake, and the merging rules of the containers tools.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Error, Host};

/// The text of a file that may be absent. A path with a file where a directory should be is
/// absent too.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

/// The text of a file that was asked for by name.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// The first file that exists, with its text.
pub(super) fn first(paths: Vec<PathBuf>) -> Result<Option<(PathBuf, String)>, Error> {
    for path in paths {
        if let Some(text) = read_optional(&path)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// Parses `text` as a whole. Fields that `T` does not know are ignored.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Error::Syntax {
            path: path.into(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}

/// The `*.conf` files of several directories, highest priority first, in the order in which they
/// are to be merged: by file name. Of several files with one name only the one of the highest
/// priority counts.
pub(super) fn drop_ins(directories: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in directories {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(source) => return Err(Error::Read { path: directory.clone(), source }),
        };
        for entry in entries {
            let entry = entry.map_err(|source| Error::Read { path: directory.clone(), source })?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir() {
                files.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    Ok(files.into_values().collect())
}

/// A file of the containers tools that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Written for this user: one's own file, or one named by a variable, or one for rootless users
    /// in general.
    pub(super) is_users: bool,
}

/// The files called `NAME.conf` that count, in the order in which they are to be merged, by the rules
/// of containers/storage from 1.60 on: one main file, the user's or the administrator's or the
/// distribution's; then drop-ins in the order of their names; then the override file.
/// `CONTAINERS_…_CONF`, called `variable`, names one file instead of all but the last.
pub(super) fn find(host: &Host, name: &str, variable: &str) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let named = |path: &str| -> Result<Found, Error> {
        let path = PathBuf::from(path);
        Ok(Found { text: read(&path)?, path, is_users: true })
    };
    if let Some(path) = host.variable(variable) {
        found.push(named(path)?);
    } else {
        let user = if host.is_rootless() || host.variable("XDG_CONFIG_HOME").is_some() {
            Some(host.xdg("XDG_CONFIG_HOME", ".config")?.join("containers"))
        } else {
            None
        };
        let system = ["/etc/containers", "/usr/share/containers"].map(|dir| host.system(dir));
        let for_rootless = format!("{name}.rootless.conf.d");
        let is_users = |path: &Path| {
            user.as_ref().is_some_and(|user| path.starts_with(user))
                || path.components().any(|part| part.as_os_str() == &*for_rootless)
        };
        let main = user.iter().chain(&system).map(|dir| dir.join(format!("{name}.conf"))).collect();
        if let Some((path, text)) = first(main)? {
            found.push(Found { is_users: is_users(&path), path, text });
        }
        let general = format!("{name}.conf.d");
        let mut directories: Vec<PathBuf> = user.iter().map(|dir| dir.join(&general)).collect();
        for dir in &system {
            if host.is_rootless() {
                let rootless = dir.join(&for_rootless);
                directories.extend([rootless.join(host.uid().to_string()), rootless]);
            } else {
                directories.push(dir.join(format!("{name}.rootful.conf.d")));
            }
            directories.push(dir.join(&general));
        }
        for path in drop_ins(&directories)? {
            found.push(Found { text: read(&path)?, is_users: is_users(&path), path });
        }
    }
    if let Some(path) = host.variable(&format!("{variable}_OVERRIDE")) {
        found.push(named(path)?);
    }
    Ok(found)
}

/// Puts `later` over `base`, key by key. An array replaces the earlier one, unless its last
/// element is `{append=true}`: then its other elements are added.
pub(super) fn merge(base: &mut Table, later: Table) {
    for (key, value) in later {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(later)) => merge(base, later),
            (_, Value::Table(later)) => {
                let mut table = Table::new();
                merge(&mut table, later);
                base.insert(key, Value::Table(table));
            }
            (earlier, Value::Array(mut elements)) => {
                let appends = elements.last().is_some_and(is_append);
                elements.retain(|element| !element.is_table());
                match earlier {
                    Some(Value::Array(earlier)) if appends => earlier.extend(elements),
                    _ => {
                        base.insert(key, Value::Array(elements));
                    }
                }
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn is_append(element: &Value) -> bool {
    element.get("append").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_key_by_key() {
        for (base, later, merged) in [
            ("a=1\nb=2", "b=3\nc=4", "a=1\nb=3\nc=4"),
            ("[t]\na=1\n[t.u]\nb=1", "[t.u]\nc=2", "[t]\na=1\n[t.u]\nb=1\nc=2"),
            ("a=['x']", "a=['y']", "a=['y']"),
            ("a=['x']", "a=['y',{append=true}]", "a=['x','y']"),
            ("a=['x']", "a=['y',{append=false}]", "a=['y']"),
            ("", "a=['y',{append=true}]", "a=['y']"),
            ("", "[t]\na=['y',{append=true}]", "[t]\na=['y']"),
            ("a=1", "[a]\nb=1", "[a]\nb=1"),
        ] {
            let mut table: Table = base.parse().unwrap();
            merge(&mut table, later.parse().unwrap());
            assert_eq!(table, merged.parse().unwrap(), "{base:?} {later:?}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        let path = Path::new("/x.conf");
        for (text, message) in [
            ("a = 1\nb = = 2\n", "/x.conf:2: "),
            ("a = 1\n\n[t]\na = 'x'\na = 'y'\n", "/x.conf:5: duplicate key"),
        ] {
            let error = parse::<Table>(path, text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn drop_ins_are_sorted_and_shadowed() {
        let root = tempfile::tempdir().unwrap();
        for file in ["high/20.conf", "low/10.conf", "low/20.conf", "low/30.txt", "low/40.conf/x"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let at = |name: &str| root.path().join(name);
        assert_eq!(
            drop_ins(&[at("high"), at("none"), at("low")]).unwrap(),
            [at("low/10.conf"), at("high/20.conf")]
        );
    }
}
