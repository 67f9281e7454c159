//! The machine and the user, as far as configuration depends on them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;

/// The environment, the user and the root of the file system. A value, so that tests can make one
/// up.
#[derive(Debug, Clone)]
pub struct Host {
    variables: BTreeMap<String, String>,
    uid: u32,
    rootless: bool,
    home: Option<PathBuf>,
    system_root: PathBuf,
}

impl Host {
    /// `uid` is the user outside any user namespace; `rootless` whether the store is a user's
    /// rather than the system's; `home` the home directory in the user database, for when `HOME`
    /// is unset. Variables that are not UTF-8 are as good as unset.
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        uid: u32,
        rootless: bool,
        home: Option<PathBuf>,
    ) -> Self {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, uid, rootless, home, system_root: "/".into() }
    }

    /// Looks for the system's files (`/etc`, `/usr/share`, `/run/user`…) below `root`.
    #[must_use]
    pub fn with_system_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.system_root = root.into();
        self
    }

    /// The user outside any user namespace.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether the store is a user's rather than the system's.
    pub fn is_rootless(&self) -> bool {
        self.rootless
    }

    /// A variable that is set and not empty: the tools treat both alike.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// An absolute system path.
    pub(super) fn system(&self, path: &str) -> PathBuf {
        self.system_root.join(path.trim_start_matches('/'))
    }

    /// The user's home directory.
    pub(super) fn home(&self) -> Result<PathBuf, Error> {
        self.variable("HOME")
            .map(PathBuf::from)
            .or_else(|| self.home.clone())
            .ok_or(Error::NoHome { uid: self.uid })
    }

    /// `variable`, else `default` below the home directory: the XDG base directories.
    pub(super) fn xdg(&self, variable: &str, default: &str) -> Result<PathBuf, Error> {
        match self.variable(variable) {
            Some(dir) => Ok(dir.into()),
            None => Ok(self.home()?.join(default)),
        }
    }

    /// Where sockets and run-time state of this user live: `/run` for the system, else
    /// `$XDG_RUNTIME_DIR`, else `/run/user/UID` when it is the user's alone, else the directory
    /// that Podman makes in the temporary directory (4 and 5: `podman-run-UID`; libraries from
    /// 1.60 on: `storage-run-UID`, taken when only that exists).
    pub fn runtime_dir(&self) -> PathBuf {
        if !self.rootless {
            return self.system("/run");
        }
        if let Some(dir) = self.variable("XDG_RUNTIME_DIR") {
            return std::fs::canonicalize(dir).unwrap_or_else(|_| dir.into());
        }
        let of_login = self.system(&format!("/run/user/{}", self.uid));
        if self.is_private(&of_login) {
            return of_login;
        }
        let temporary = self.variable("TMPDIR").map_or_else(|| self.system("/tmp"), PathBuf::from);
        let old = temporary.join(format!("podman-run-{}", self.uid));
        let new = temporary.join(format!("storage-run-{}", self.uid));
        if !self.is_private(&old) && self.is_private(&new) { new } else { old }
    }

    /// Whether `path` is a directory that belongs to the user and nobody else may write.
    fn is_private(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| {
            metadata.is_dir() && metadata.uid() == self.uid && metadata.mode() & 0o022 == 0
        })
    }

    /// Replaces `$NAME` and `${NAME}`; `$UID` is the user outside any namespace, unset variables
    /// are empty.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let (before, after) = rest.split_at(dollar);
            out.push_str(before);
            let after = &after[1..];
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, tail) = braced.unwrap_or_else(|| {
                let end = after
                    .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                    .unwrap_or(after.len());
                after.split_at(end)
            });
            match name {
                "" => out.push('$'),
                "UID" => out.push_str(&self.uid.to_string()),
                "HOME" => {
                    if let Ok(home) = self.home() {
                        out.push_str(&home.to_string_lossy());
                    }
                }
                name => out.push_str(self.variable(name).unwrap_or_default()),
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(variables: &[(&str, &str)]) -> Host {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Host::new(variables, 1000, true, Some("/home/u".into()))
    }

    #[test]
    fn expands_variables() {
        let host = host(&[("A", "x"), ("A_1", "y")]);
        for (text, expanded) in [
            ("/a/b", "/a/b"),
            ("$HOME/s", "/home/u/s"),
            ("/run/$UID/${A}b", "/run/1000/xb"),
            ("$A_1$A/$NONE/", "yx//"),
            ("${A", "${A"),
            ("a$", "a$"),
            ("ä$A.ö", "äx.ö"),
        ] {
            assert_eq!(host.expand(text), expanded, "{text}");
        }
    }

    #[test]
    fn runtime_directory_of_a_user() {
        let root = tempfile::tempdir().unwrap();
        let uid = std::fs::metadata(root.path()).unwrap().uid();
        let host = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            Host::new(variables, uid, true, None).with_system_root(root.path())
        };
        let dir = |path: String| {
            use std::os::unix::fs::DirBuilderExt;
            let path = root.path().join(path);
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).unwrap();
            path
        };
        assert_eq!(host(&[("XDG_RUNTIME_DIR", "/x/y")]).runtime_dir(), Path::new("/x/y"));
        let none = host(&[]);
        assert_eq!(none.runtime_dir(), root.path().join(format!("tmp/podman-run-{uid}")));
        let new = dir(format!("tmp/storage-run-{uid}"));
        assert_eq!(none.runtime_dir(), new);
        let old = dir(format!("tmp/podman-run-{uid}"));
        assert_eq!(none.runtime_dir(), old);
        let login = dir(format!("run/user/{uid}"));
        assert_eq!(none.runtime_dir(), login);
        let tmp = host(&[("TMPDIR", "/t"), ("XDG_RUNTIME_DIR", "")]);
        assert_eq!(tmp.runtime_dir(), login);
    }
}
