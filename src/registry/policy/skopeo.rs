//! Skopeo's opinion of the signatures of an image.
//!
//! Of skopeo's commands only `copy` obeys a policy in all of its releases: the image proxy of those
//! before 1.13, Debian's 1.9 among them, opens whatever it is asked for, and later ones look at the
//! signatures of a list where Podman looks at those of the image taken from it. `copy` to a registry
//! that has every blob already reads signatures, manifest and config and sends the manifest: it is
//! the one that was accepted, to the last byte.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};

use super::logins::LoginFile;
use super::sink::Sink;
use super::{Question, rejected};
use crate::image::{Digest, Login};
use crate::registry::error::{Error, ErrorKind, Result};
use crate::registry::{Settings, auth};

/// Longest time for one image.
const PATIENCE: Duration = Duration::from_secs(300);
/// How much of its messages is looked at, bytes.
const MESSAGES: u64 = 64 << 10;

/// The digest of the image that the policy at `policy` accepts.
pub(super) async fn accepted(
    settings: &Settings,
    policy: &Path,
    question: Question<'_>,
) -> Result<Digest> {
    let local = |error: std::io::Error| Error::new(ErrorKind::Rejected, error.to_string());
    let place = "asking skopeo about signatures";
    let sink = Sink::open().await.map_err(|error| local(error).context(place))?;
    let mut logins = logins(settings, &question).await?;
    logins.push((sink.host(), sink.login().clone()));
    let logins = LoginFile::new(logins.iter().map(|(key, login)| (key.clone(), login)))
        .map_err(|error| local(error).context(place))?;

    let reference = question.reference.clone().tagged();
    let mut command = Command::new("skopeo");
    command.arg("--policy").arg(policy);
    // Skopeo does not look at the variable that the other tools look at.
    if let Some(registries) = &settings.registries_conf {
        command.arg("--registries-conf").arg(registries);
    }
    let platform = question.platform;
    for (flag, value) in [
        ("--override-os", &platform.os),
        ("--override-arch", &platform.architecture),
        ("--override-variant", &platform.variant),
    ] {
        if !value.is_empty() {
            command.args([flag, value]);
        }
    }
    command.args(["copy", "--quiet", "--preserve-digests", "--remove-signatures"]);
    command.arg("--authfile").arg(logins.path());
    if let Some(verify) = question.access.tls_verify {
        command.arg(format!("--src-tls-verify={verify}"));
    }
    command.arg("--dest-tls-verify=false");
    command.arg(format!("docker://{reference}")).arg(sink.image());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true);

    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => rejected(
            "the policy asks for signatures, and skopeo, which looks at them, is not installed",
        ),
        _ => local(error).context(place),
    })?;
    let messages = child.stderr.take();
    let run = async {
        let (status, messages) = tokio::join!(child.wait(), read(messages));
        status.map(|status| (status, messages))
    };
    let (status, messages) = tokio::select! {
        never = sink.serve() => match never {},
        ended = tokio::time::timeout(PATIENCE, run) => match ended {
            Ok(ended) => ended.map_err(|error| local(error).context(place))?,
            Err(_) => {
                let text = format!("no answer in {} seconds", PATIENCE.as_secs());
                return Err(Error::new(ErrorKind::Network, text).context(place));
            }
        },
    };
    if !status.success() {
        return Err(refusal(&messages).unwrap_or_else(|| {
            Error::new(ErrorKind::Rejected, format!("skopeo: {status}")).context(place)
        }));
    }
    sink.taken().ok_or_else(|| {
        Error::new(ErrorKind::Rejected, "skopeo has accepted no image").context(place)
    })
}

/// As whom each of the places with the image is to be asked.
async fn logins(settings: &Settings, question: &Question<'_>) -> Result<Vec<(String, Login)>> {
    let own = question.reference;
    let sources = settings.registries.pull_sources(own);
    let sources = sources.map_err(|error| Error::new(ErrorKind::BadRequest, error.to_string()))?;
    let mut logins = Vec::new();
    for source in sources {
        let key = source.reference.repository();
        let login = match question.access.logins.find(&key) {
            Some(login) => login,
            None => auth::of_host(settings, &key).await?,
        };
        logins.push((key, login));
    }
    Ok(logins)
}

/// The beginning of its messages; the rest is read too, since nobody may be kept from writing.
async fn read(messages: Option<ChildStderr>) -> String {
    let Some(mut messages) = messages else { return String::new() };
    let mut text = Vec::new();
    // What cannot be read is missing from an error's text and nothing else.
    let _ = (&mut messages).take(MESSAGES).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut messages, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// What skopeo says as its last word.
fn refusal(messages: &str) -> Option<Error> {
    let fatal = messages.lines().rev().find(|line| line.contains("level=fatal"))?;
    let quoted = fatal.split_once("msg=")?.1;
    // Go quotes almost as JSON does.
    let text = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
    Some(match text.strip_prefix("Source image rejected: ") {
        Some(reason) => rejected(reason),
        None => Error::new(ErrorKind::Answer, text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words() {
        for (messages, kind, text) in [
            (
                "time=\"x\" level=warning msg=\"a\"\ntime=\"x\" level=fatal msg=\"Source image rejected: no \\\"key\\\"\"\n",
                ErrorKind::Rejected,
                "Source image rejected: no \"key\"",
            ),
            (
                "time=\"x\" level=fatal msg=\"initializing \\x00\"",
                ErrorKind::Answer,
                "initializing \\x00",
            ),
            ("level=fatal msg=word", ErrorKind::Answer, "word"),
        ] {
            let error = refusal(messages).unwrap();
            assert_eq!((error.kind(), &*error.to_string()), (kind, text), "{messages}");
        }
        assert!(refusal("").is_none());
        assert!(refusal("panic: x").is_none());
    }
}
