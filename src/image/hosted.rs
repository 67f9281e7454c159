//! Images that are not in a registry, as their names with a transport in front say where they are:
//! in an archive or a directory of this host, or with its Docker daemon.

use std::fmt;
use std::path::{Path, PathBuf};

use super::policy::Source;
use super::{Digest, Reference};

/// An image, or for some archives an image with several names, that is not in a registry. Shown as
/// it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedImage {
    text: String,
    place: HostedPlace,
}

/// Where such an image is. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostedPlace {
    /// In an archive as `docker save` writes it.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        choice: ArchiveChoice,
    },
    /// In an archive with an OCI layout.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// The name that the layout gives it. `None`: there is only one.
        reference: Option<String>,
    },
    /// In a directory with an OCI layout.
    OciDirectory {
        /// The directory.
        path: PathBuf,
        /// The name that the layout gives it. `None`: there is only one.
        reference: Option<String>,
        /// What the path makes its name.
        name: Reference,
    },
    /// In a directory that the transport `dir:` wrote.
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// With the Docker daemon.
    DockerDaemon {
        /// What the daemon calls it: a name with a tag or a digest, or its ID.
        image: String,
        /// Its name, if it is not called by its ID.
        name: Option<Reference>,
    },
}

/// Which image of an archive is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveChoice {
    /// The only one, with all of its names.
    Only,
    /// That with this name, which is a full one in Docker's sense; and only that name.
    Named(Reference),
    /// The one at this place, counted from 0, with all of its names.
    At(usize),
}

impl HostedImage {
    /// Reads a name with one of these transports in front: `docker-archive`, `oci-archive`, `oci`,
    /// `dir`, `docker-daemon`. `None` if there is none of them.
    ///
    /// # Errors
    /// What follows means nothing to the transport; mostly in the words of the tools.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (transport, rest) = text.split_once(':')?;
        let place = match transport {
            "docker-archive" => docker_archive(rest),
            "oci-archive" => {
                oci(rest).map(|(path, reference)| HostedPlace::OciArchive { path, reference })
            }
            "oci" => oci(rest).and_then(|(path, reference)| {
                let name = name_of(&path)?;
                Ok(HostedPlace::OciDirectory { path, reference, name })
            }),
            "dir" => absolute(rest).map(|path| HostedPlace::Directory { path }),
            "docker-daemon" => docker_daemon(rest),
            _ => return None,
        };
        Some(place.map(|place| Self { text: text.to_owned(), place }))
    }

    /// The transport, `oci` for example.
    pub fn transport(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    /// Where it is.
    pub fn place(&self) -> &HostedPlace {
        &self.place
    }

    /// The file or directory that it is in.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            HostedPlace::DockerArchive { path, .. }
            | HostedPlace::OciArchive { path, .. }
            | HostedPlace::OciDirectory { path, .. }
            | HostedPlace::Directory { path } => Some(path),
            HostedPlace::DockerDaemon { .. } => None,
        }
    }

    /// What it is to policies. `resolved` is its [`path`](Self::path) without links.
    pub fn source(&self, resolved: &Path) -> Source {
        let layout = |path: &Path, reference: &Option<String>| {
            format!("{}:{}", path.display(), reference.as_deref().unwrap_or_default())
        };
        match &self.place {
            HostedPlace::DockerArchive { path, choice } => {
                let choice = match choice {
                    ArchiveChoice::Only => None,
                    ArchiveChoice::Named(name) => Some(name.to_string()),
                    ArchiveChoice::At(place) => Some(format!("@{place}")),
                };
                Source::docker_archive(Some(path), choice.as_deref())
            }
            HostedPlace::OciArchive { path, reference } => {
                Source::oci_archive(Some(resolved)).called(layout(path, reference))
            }
            HostedPlace::OciDirectory { path, reference, .. } => {
                Source::oci(resolved).called(layout(path, reference))
            }
            HostedPlace::Directory { path } => {
                Source::dir(resolved).called(path.display().to_string())
            }
            HostedPlace::DockerDaemon { image, name } => {
                Source::docker_daemon(name.as_ref()).called(image.clone())
            }
        }
    }
}

impl fmt::Display for HostedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The service has no working directory that a caller could know.
fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err(format!("path is not absolute: {path:?}"))
    }
}

fn docker_archive(rest: &str) -> Result<HostedPlace, String> {
    if rest.is_empty() {
        let text = "docker-archive reference  isn't of the form <path>[:<reference>]";
        return Err(text.to_owned());
    }
    let (path, choice) = match rest.split_once(':') {
        None => (rest, ArchiveChoice::Only),
        Some((path, choice)) => (path, archive_choice(choice)?),
    };
    Ok(HostedPlace::DockerArchive { path: absolute(path)?, choice })
}

fn archive_choice(text: &str) -> Result<ArchiveChoice, String> {
    if let Some(place) = text.strip_prefix('@') {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let place = place.parse::<i64>().map_err(|error| {
            let reason = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            format!("Invalid source index {text}: strconv.Atoi: parsing {place:?}: {reason}")
        })?;
        let place = usize::try_from(place)
            .map_err(|_| format!("Invalid source index @{place}: must not be negative"))?;
        return Ok(ArchiveChoice::At(place));
    }
    let name = Reference::normalize_docker(text)
        .map_err(|error| format!("docker-archive parsing reference: {error}"))?;
    if name.digest().is_some() {
        return Err(format!("reference does not include a tag: {name}"));
    }
    Ok(ArchiveChoice::Named(name.tagged()))
}

/// A path, and the name of an image in the layout there.
fn oci(rest: &str) -> Result<(PathBuf, Option<String>), String> {
    let (path, reference) = rest.split_once(':').unwrap_or((rest, ""));
    let reference = Some(reference).filter(|reference| !reference.is_empty());
    Ok((absolute(path)?, reference.map(str::to_owned)))
}

/// The name of what is in a directory: below `localhost`, the path.
fn name_of(path: &Path) -> Result<Reference, String> {
    let name = format!("localhost/{}", path.display().to_string().trim_start_matches('/'));
    match Reference::normalize_docker(&name) {
        Ok(reference) => Ok(reference.tagged()),
        Err(error) => Err(format!("parsing {name:?}: parsing named reference {name:?}: {error}")),
    }
}

fn docker_daemon(rest: &str) -> Result<HostedPlace, String> {
    if let Ok(digest) = rest.parse::<Digest>() {
        if digest.algorithm() != "sha256" {
            return Err(format!(
                "Invalid docker-daemon: reference {rest}: only digest algorithm sha256 accepted"
            ));
        }
        return Ok(HostedPlace::DockerDaemon { image: rest.to_owned(), name: None });
    }
    let name = Reference::normalize_docker(rest).map_err(|error| error.to_string())?;
    let familiar = name.familiar();
    if name.repository() == "docker.io/library/sha256" {
        return Err(format!(
            "Invalid docker-daemon: reference {rest}: The sha256 repository name is reserved for \
             (non-shortened) digest references"
        ));
    }
    if name.is_doubled() {
        let text = "docker-daemon: references with both a tag and digest are currently not \
                    supported";
        return Err(text.to_owned());
    }
    if name.tag().is_none() && name.digest().is_none() {
        return Err(format!("docker-daemon: reference {familiar} has neither a tag nor a digest"));
    }
    Ok(HostedPlace::DockerDaemon { image: familiar, name: Some(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What policies call it.
    fn shown(text: &str) -> Option<Result<String, String>> {
        let image = HostedImage::parse(text)?;
        Some(image.map(|image| {
            assert_eq!(image.to_string(), text);
            image.source(Path::new("/resolved")).to_string()
        }))
    }

    #[test]
    fn names_mean_what_they_mean_to_podman() {
        let hex = "a".repeat(64);
        let ok = |text: &str| Some(Ok(text.to_owned()));
        let bad = |text: &str| Some(Err(text.to_owned()));
        for (text, expected) in [
            ("docker://x", None),
            ("x:1", None),
            ("containers-storage:x", None),
            ("docker-archive:/a.tar", ok("docker-archive:/a.tar")),
            ("docker-archive:/a.tar:foo:x", ok("docker-archive:/a.tar:docker.io/library/foo:x")),
            ("docker-archive:/a.tar:q.io/a", ok("docker-archive:/a.tar:q.io/a:latest")),
            ("docker-archive:/a.tar:@1", ok("docker-archive:/a.tar:@1")),
            (
                "docker-archive:",
                bad("docker-archive reference  isn't of the form <path>[:<reference>]"),
            ),
            ("docker-archive:a.tar", bad("path is not absolute: \"a.tar\"")),
            (
                "docker-archive:/a.tar:",
                bad("docker-archive parsing reference: invalid reference format"),
            ),
            (
                "docker-archive:/a.tar:UPPER",
                bad("docker-archive parsing reference: invalid reference format: repository name \
                     must be lowercase"),
            ),
            (
                "docker-archive:/a.tar:@x",
                bad("Invalid source index @x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ),
            ("docker-archive:/a.tar:@-1", bad("Invalid source index @-1: must not be negative")),
            ("oci-archive:/a.tar", ok("oci-archive:/a.tar:")),
            ("oci-archive:/A.tar:b:c", ok("oci-archive:/A.tar:b:c")),
            ("oci:/a", ok("oci:/a:")),
            ("oci:/a:b", ok("oci:/a:b")),
            ("oci:a", bad("path is not absolute: \"a\"")),
            (
                "oci:/A",
                bad("parsing \"localhost/A\": parsing named reference \"localhost/A\": invalid \
                     reference format: repository name must be lowercase"),
            ),
            ("dir:/A:b", ok("dir:/A:b")),
            ("dir:", bad("path is not absolute: \"\"")),
            ("docker-daemon:two:2", ok("docker-daemon:two:2")),
            ("docker-daemon:docker.io/library/two:2", ok("docker-daemon:two:2")),
            (
                "docker-daemon:two",
                bad("docker-daemon: reference two has neither a tag nor a digest"),
            ),
            (
                "docker-daemon:sha256:abc",
                bad("Invalid docker-daemon: reference sha256:abc: The sha256 repository name is \
                     reserved for (non-shortened) digest references"),
            ),
            ("docker-daemon:", bad("invalid reference format")),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let by_id = format!("docker-daemon:sha256:{hex}");
        assert_eq!(shown(&by_id), ok(&by_id));
    }

    #[test]
    fn a_directory_is_named_by_its_path() {
        let name = |text| match HostedImage::parse(text).unwrap().unwrap().place() {
            HostedPlace::OciDirectory { name, .. } => name.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(name("oci:/srv/images/a"), "localhost/srv/images/a:latest");
        assert_eq!(name("oci://srv/a:named"), "localhost/srv/a:latest");
    }
}
