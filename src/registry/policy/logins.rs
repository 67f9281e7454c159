//! An `auth.json` that is in no directory, for one process to read while it runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::MemfdFlags;
use serde_json::{Map, json};

use crate::image::Login;

/// The file. Nothing of it is left when this is dropped, or when the program is killed.
pub(super) struct LoginFile(File);

impl LoginFile {
    /// With these logins, each for a registry or a repository.
    pub(super) fn new<'a>(logins: impl Iterator<Item = (String, &'a Login)>) -> io::Result<Self> {
        let mut auths = Map::new();
        for (key, login) in logins.filter(|(_, login)| !login.is_empty()) {
            let mut entry = json!({ "auth": basic(login) });
            if !login.identity_token.is_empty() {
                entry["identitytoken"] = json!(login.identity_token);
            }
            auths.insert(key, entry);
        }
        let mut file = File::from(rustix::fs::memfd_create("auth.json", MemfdFlags::CLOEXEC)?);
        file.write_all(json!({ "auths": auths }).to_string().as_bytes())?;
        Ok(Self(file))
    }

    /// What a process of the same user finds it under.
    pub(super) fn path(&self) -> PathBuf {
        let (process, descriptor) = (std::process::id(), self.0.as_raw_fd());
        format!("/proc/{process}/fd/{descriptor}").into()
    }
}

/// User and password as files and headers have them. A token needs a user, too.
pub(super) fn basic(login: &Login) -> String {
    let user = match &*login.username {
        "" if !login.identity_token.is_empty() => "<token>",
        user => user,
    };
    STANDARD.encode(format!("{user}:{}", login.password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read_by_its_path_until_it_is_dropped() {
        let login = Login { username: "u".into(), password: "p".into(), ..Login::default() };
        let token = Login { identity_token: "t".into(), ..Login::default() };
        let nobody = Login::default();
        let logins = [("a.io", &login), ("b.io/x", &token), ("c.io", &nobody)];
        let file = LoginFile::new(logins.map(|(key, login)| (key.to_owned(), login)).into_iter());
        let file = file.unwrap();
        let path = file.path();
        let expected = r#"{"auths":{"a.io":{"auth":"dTpw"},"b.io/x":{"auth":"PHRva2VuPjo=","identitytoken":"t"}}}"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        drop(file);
        assert!(!std::fs::read_to_string(&path).is_ok_and(|text| text == expected));
    }
}
