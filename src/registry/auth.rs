//! The host's own logins: the files that `podman login` and `docker login` write, and the helpers
//! that these name. Read anew each time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Settings;
use super::error::{Error, ErrorKind, Result};
use crate::image::{Login, login_key, login_keys};

/// Longest wait for a credential helper.
const HELPER: Duration = Duration::from_secs(60);
/// The name under which `registries.conf` lists the files among the helpers.
const FILES: &str = "containers-auth.json";

/// `auth.json`, and the part of Docker's `config.json` that is the same.
#[derive(Deserialize, Default)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// Where a login is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(Login),
    /// A helper's name, and the key to ask it for.
    Helper(String, String),
}

/// The login of the host for `name`, a registry or a repository; an empty one if there is none.
pub(super) async fn of_host(settings: &Settings, name: &str) -> Result<Login> {
    let helpers = &settings.registries.credential_helpers;
    let files = [FILES.to_owned()];
    let sources = if helpers.is_empty() { &files[..] } else { helpers };
    for source in sources {
        let login = if source == FILES {
            let (files, name) = (settings.auth_files.clone(), name.to_owned());
            let found = tokio::task::spawn_blocking(move || in_files(&files, &name)).await;
            match found.map_err(|error| failed(error.to_string()))?? {
                None => None,
                Some(Place::Here(login)) => Some(login),
                Some(Place::Helper(helper, key)) => ask(&helper, &key).await?,
            }
        } else {
            ask(source, &registry(name)).await?
        };
        if let Some(login) = login.filter(|login| !login.is_empty()) {
            return Ok(login);
        }
    }
    Ok(Login::default())
}

fn registry(name: &str) -> String {
    login_key(name.split('/').next().unwrap_or_default())
}

fn failed(text: impl Into<String>) -> Error {
    failed_as(ErrorKind::Answer, text)
}

fn failed_as(kind: ErrorKind, text: impl Into<String>) -> Error {
    Error::new(kind, text).context("getting username and password")
}

/// The first file that knows `name`. A file that does not exist knows nobody.
fn in_files(files: &[PathBuf], name: &str) -> Result<Option<Place>> {
    for path in files {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => {
                let kind = ErrorKind::of_reading(&error, ErrorKind::Answer);
                return Err(failed_as(kind, format!("reading {}: {error}", path.display())));
            }
        };
        let damaged = |text: &str| failed(format!("reading JSON file {}: {text}", path.display()));
        // The text of a syntax error quotes nothing of the file.
        let file: AuthFile =
            serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        let legacy = path.file_name().is_some_and(|name| name == ".dockercfg");
        let file = if legacy { AuthFile { auths: of_legacy(&text), ..file } } else { file };
        if let Some(place) = file.find(name, path).map_err(damaged)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The oldest form has the entries at the top.
fn of_legacy(text: &[u8]) -> BTreeMap<String, Entry> {
    serde_json::from_slice(text).unwrap_or_default()
}

impl AuthFile {
    fn find(&self, name: &str, path: &Path) -> Result<Option<Place>, &'static str> {
        for key in login_keys(name) {
            if let Some(helper) = self.helpers.get(&key) {
                return Ok(Some(Place::Helper(helper.clone(), key)));
            }
        }
        for key in login_keys(name) {
            let exact = self.auths.get(&key);
            let entry = exact
                .or_else(|| self.auths.iter().find(|(k, _)| login_key(k) == key).map(|(_, e)| e));
            if let Some(login) = entry.map(Entry::login).transpose()?
                && !login.is_empty()
            {
                return Ok(Some(Place::Here(login)));
            }
        }
        let docker = path.file_name().is_some_and(|name| name == "config.json");
        Ok((docker && !self.store.is_empty()).then(|| {
            Place::Helper(
                self.store.clone(),
                match &*registry(name) {
                    "docker.io" => "https://index.docker.io/v1/".to_owned(),
                    other => other.to_owned(),
                },
            )
        }))
    }
}

impl Entry {
    fn login(&self) -> Result<Login, &'static str> {
        let identity_token = self.identity_token.clone();
        if self.auth.is_empty() {
            return Ok(Login { identity_token, ..Login::default() });
        }
        let decoded = STANDARD.decode(&self.auth).map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(decoded).map_err(|_| "auth is not text")?;
        // Without a colon it is as good as none, as in Go.
        let (username, password) = text.split_once(':').unwrap_or_default();
        Ok(Login {
            username: username.to_owned(),
            password: password.trim_matches('\0').to_owned(),
            identity_token,
        })
    }
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<helper>`. Its words are not repeated: they may be secrets.
async fn ask(helper: &str, key: &str) -> Result<Option<Login>> {
    let program = format!("docker-credential-{helper}");
    let failed = |text: &str| failed(format!("{program}: {text}"));
    let run = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read its input says no to everybody.
            let _ = input.write_all(format!("{key}\n").as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(&error.to_string())),
        Err(_) => return Err(failed("no answer")),
    };
    if !output.status.success() {
        if output.stdout.trim_ascii() == b"credentials not found in native keychain" {
            return Ok(None);
        }
        return Err(failed(&output.status.to_string()));
    }
    let printed: Printed =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("not an answer"))?;
    Ok(Some(match &*printed.username {
        "<token>" => Login { identity_token: printed.secret, ..Login::default() },
        _ => Login { username: printed.username, password: printed.secret, ..Login::default() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], name: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = vec![dir.path().join("none"), dir.path().join("none/none")];
        for (name, text) in files {
            paths.push(dir.path().join(name));
            std::fs::write(paths.last().unwrap(), text).unwrap();
        }
        let place = in_files(&paths, name)
            .map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), "DIR"))?;
        Ok(match place {
            None => String::new(),
            Some(Place::Here(login)) => {
                format!("{}:{}:{}", login.username, login.password, login.identity_token)
            }
            Some(Place::Helper(helper, key)) => format!("{helper} {key}"),
        })
    }

    /// `u:p`, `v:q:r` and `w:` are dTpw, djpxOnI= and dzo=.
    #[test]
    fn files() {
        let auth = (
            "auth.json",
            r#"{"auths":{
                "a.io":{"auth":"dTpw"},
                "a.io/ns":{"auth":"djpxOnI=","email":"x"},
                "https://b.io/v1/":{"auth":"dzo=","identitytoken":"t"},
                "empty.io":{},
                "https://index.docker.io/v1/":{"auth":"dTpw"}
            },"credHelpers":{"h.io":"secretservice"}}"#,
        );
        let config = (
            "config.json",
            r#"{"auths":{"empty.io":{"auth":"dTpw"}},"credsStore":"pass","other":[1]}"#,
        );
        let legacy = (".dockercfg", r#"{"https://old.io":{"auth":"dTpw"}}"#);
        for (files, name, expected) in [
            (&[][..], "a.io", ""),
            (&[auth], "a.io", "u:p:"),
            (&[auth], "a.io/other/x", "u:p:"),
            (&[auth], "a.io/ns/x", "v:q:r:"),
            (&[auth], "b.io/x", "w::t"),
            (&[auth], "h.io/x", "secretservice h.io"),
            (&[auth], "docker.io/library/x", "u:p:"),
            (&[auth], "empty.io", ""),
            (&[auth, config], "empty.io", "u:p:"),
            (&[auth, config], "c.io", "pass c.io"),
            (&[config], "docker.io", "pass https://index.docker.io/v1/"),
            (&[legacy], "old.io", "u:p:"),
        ] {
            assert_eq!(found(files, name).as_deref(), Ok(expected), "{name}");
        }
        for (text, error) in [
            ("{", "EOF while parsing an object at line 1 column 1"),
            (r#"{"auths":{"a.io":{"auth":"%secret"}}}"#, "auth is not base64"),
        ] {
            let error = format!("getting username and password: reading JSON file DIR/a: {error}");
            assert_eq!(found(&[("a", text)], "a.io"), Err(error));
        }
    }
}
