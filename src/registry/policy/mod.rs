//! What the signature policy of the host lets in.
//!
//! The file is read each time it is needed, so that a change counts at once; it is small. Most
//! policies decide by where an image comes from. Where one asks for signatures, skopeo looks at
//! them: they are found, parsed and verified by the tools' own code, with the tools' own
//! configuration (`registries.d`, keys, transparency logs).
//!
//! | file | its one job |
//! |---|---|
//! | `mod` | the policy in force, and its answers |
//! | `skopeo` | skopeo's opinion of an image of a registry |
//! | `sink` | the registry that skopeo believes to copy to |
//! | `logins` | how skopeo is told who asks |

mod logins;
mod sink;
mod skopeo;

use std::io;
use std::path::Path;

use super::Settings;
use super::client::Access;
use super::error::{Error, ErrorKind, Result};
use crate::image::{Digest, Platform, Policy, PolicyFile, Reference, Source, Verdict};

/// What may be taken from a registry under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Whatever it has.
    Anything,
    /// The image whose manifest has this digest, and nothing else. It is never a list.
    Only(Digest),
}

/// What to ask about an image of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The full name under which it is wanted. Not that of a mirror: the policy is about names.
    pub reference: &'a Reference,
    /// Which image of a list.
    pub platform: &'a Platform,
    /// How the registry is to be asked.
    pub access: &'a Access,
}

/// Whether an image of a registry may be pulled. Where signatures are asked for, this takes some
/// requests to the registry; without them none.
///
/// # Errors
/// Of kind [`ErrorKind::Rejected`] if it may not, in the words of containers/image. If there is no
/// policy, nothing may be pulled.
pub async fn admit(settings: &Settings, question: Question<'_>) -> Result<Admission> {
    let file = settings.policy.clone();
    let read = tokio::task::spawn_blocking(move || {
        let path = path_of(&file);
        Ok((path.to_owned(), read(path).map_err(Unreadable::into_error)?))
    });
    let (path, policy): (_, Policy) =
        read.await.map_err(|error| Error::new(ErrorKind::Rejected, error.to_string()))??;
    let source = Source::docker(question.reference);
    match policy.verdict(&source) {
        Verdict::Accept => Ok(Admission::Anything),
        Verdict::Reject(reason) => Err(rejected(reason)),
        Verdict::AskSignatures => {
            skopeo::accepted(settings, &path, question).await.map(Admission::Only)
        }
    }
}

/// Whether an image from here, not from a registry, may be used. Blocking; one small read.
///
/// Without any policy it may: the tools refuse everything then, but whoever can load an archive
/// has the image already, and hosts without the tools have no policy.
///
/// # Errors
/// Of kind [`ErrorKind::Rejected`] if it may not.
pub fn check(file: &PolicyFile, source: &Source) -> Result<()> {
    let policy = match read(path_of(file)) {
        Ok(policy) => policy,
        Err(Unreadable::Missing(_)) if matches!(file, PolicyFile::Usual(_)) => return Ok(()),
        Err(error) => return Err(error.into_error()),
    };
    match policy.verdict(source) {
        Verdict::Accept => Ok(()),
        Verdict::Reject(reason) => Err(rejected(reason)),
        Verdict::AskSignatures => Err(rejected(format!(
            "a signature is required, and those of the transport {} are not looked at here",
            source.transport()
        ))),
    }
}

fn rejected(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::Rejected, reason).context("Source image rejected")
}

/// Why there is no policy.
enum Unreadable {
    Missing(Error),
    Other(Error),
}

impl Unreadable {
    fn into_error(self) -> Error {
        match self {
            Self::Missing(error) | Self::Other(error) => error,
        }
    }
}

/// The file that counts. Of the usual ones the last stands for all if there is none.
fn path_of(file: &PolicyFile) -> &Path {
    match file {
        PolicyFile::Named(path) => path,
        PolicyFile::Usual(paths) => {
            let found = paths.iter().find(|path| path.exists()).or(paths.last());
            found.map_or(Path::new("/etc/containers/policy.json"), |path| path)
        }
    }
}

fn read(path: &Path) -> Result<Policy, Unreadable> {
    let failed = |error: &io::Error| {
        // As Go writes them: without the number, in lower case.
        let text = error.to_string().to_lowercase();
        let text = text.split(" (os error").next().unwrap_or_default().to_owned();
        let kind = ErrorKind::of_reading(error, ErrorKind::Rejected);
        Error::new(kind, text).context(format!("open {}", path.display()))
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Unreadable::Missing(failed(&error)));
        }
        Err(error) => return Err(Unreadable::Other(failed(&error))),
    };
    Policy::parse(&text).map_err(|text| {
        let error = Error::new(ErrorKind::Rejected, text);
        Unreadable::Other(error.context(format!("invalid policy in {path:?}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    const REJECT: &str = r#"{"default":[{"type":"reject"}]}"#;
    const SIGNED: &str =
        r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/none"}]}"#;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn admitted(policy: PolicyFile) -> Result<Admission, String> {
        let settings = Settings { policy, ..Settings::default() };
        let reference = Reference::normalize_docker("127.0.0.1:1/a").unwrap();
        let (platform, access) = (Platform::host(), Access::default());
        let question = Question { reference: &reference, platform: &platform, access: &access };
        runtime().block_on(admit(&settings, question)).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Rejected);
            error.to_string()
        })
    }

    #[test]
    fn the_first_file_that_exists_counts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [user, system] = ["user", "system"].map(|name| dir.path().join(name));
        let usual = PolicyFile::Usual(vec![user.clone(), system.clone()]);
        let tarball = Source::tarball(None);
        let check = |file: &PolicyFile| check(file, &tarball).map_err(|error| error.to_string());
        let missing = |path: &Path| format!("open {}: no such file or directory", path.display());
        assert_eq!(admitted(usual.clone()), Err(missing(&system)));
        assert_eq!(check(&usual), Ok(()));
        // Somebody wanted this one.
        let named = PolicyFile::Named(user.clone());
        assert_eq!(check(&named), Err(missing(&user)));

        std::fs::write(&system, ACCEPT).unwrap();
        assert_eq!(admitted(usual.clone()), Ok(Admission::Anything));
        assert_eq!(check(&usual), Ok(()));
        std::fs::write(&user, REJECT).unwrap();
        let of =
            |image| format!("Source image rejected: Running image {image} is rejected by policy.");
        assert_eq!(admitted(usual.clone()), Err(of("docker://127.0.0.1:1/a:latest")));
        assert_eq!(check(&usual), Err(of("tarball:-")));
        assert_eq!(check(&named), Err(of("tarball:-")));
        std::fs::write(&user, SIGNED).unwrap();
        let unsigned = "Source image rejected: A signature was required, but no signature exists";
        assert_eq!(check(&usual), Err(unsigned.to_owned()));
        std::fs::write(&user, "{").unwrap();
        let invalid = format!("invalid policy in {user:?}: unexpected end of JSON input");
        assert_eq!(admitted(usual.clone()), Err(invalid.clone()));
        assert_eq!(check(&usual), Err(invalid));
    }
}
