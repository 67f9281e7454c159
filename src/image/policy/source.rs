//! What a policy knows of an image before any of it is read: the transport and what it is called
//! there.

use std::fmt;
use std::path::Path;

use crate::image::{ImageId, Reference};

/// Where an image comes from. Shown as the tools written in Go write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    transport: &'static str,
    /// The name behind the transport's, as messages show it.
    name: String,
    /// The scopes that include it, the most precise first. Not the one that includes everything.
    scopes: Vec<String>,
    may_be_signed: bool,
}

impl Source {
    /// An image of a registry.
    pub fn docker(reference: &Reference) -> Self {
        let reference = reference.clone().tagged();
        let repository = reference.repository();
        let suffix = suffix(&reference);
        let familiar = repository.strip_prefix("docker.io/").unwrap_or(&repository);
        // What is in `library` on other registries keeps its name.
        let familiar = match familiar.strip_prefix("library/") {
            Some(short) if familiar.len() != repository.len() && !short.contains('/') => short,
            _ => familiar,
        };
        let name = format!("//{familiar}{suffix}");
        let scopes = names(&reference);
        Self { transport: "docker", name, scopes, may_be_signed: true }
    }

    /// An image of a Docker daemon, which is called by this name, or by its ID.
    pub fn docker_daemon(name: Option<&Reference>) -> Self {
        // IDs have no namespace.
        let scopes = name.map(names).unwrap_or_default();
        let name = name.map(Reference::familiar).unwrap_or_default();
        Self { name, scopes, ..Self::unsigned("docker-daemon") }
    }

    /// An image called `name` of a docker archive; without a path one that came over the wire.
    pub fn docker_archive(path: Option<&Path>, name: Option<&str>) -> Self {
        // An archive of this kind has no identity.
        let name = name.map(|name| format!(":{name}")).unwrap_or_default();
        Self { name: format!("{}{name}", shown(path)), ..Self::unsigned("docker-archive") }
    }

    /// An image of an OCI archive; without a path one that came over the wire.
    pub fn oci_archive(path: Option<&Path>) -> Self {
        let scopes = path.map(paths).unwrap_or_default();
        Self { name: format!("{}:", shown(path)), scopes, ..Self::unsigned("oci-archive") }
    }

    /// An image of an OCI layout in a directory.
    pub fn oci(path: &Path) -> Self {
        let name = format!("{}:", path.display());
        Self { name, scopes: paths(path), ..Self::unsigned("oci") }
    }

    /// The image of a directory of the transport `dir:`.
    pub fn dir(path: &Path) -> Self {
        let name = path.display().to_string();
        Self { name, scopes: paths(path), may_be_signed: true, ..Self::unsigned("dir") }
    }

    /// The image of a tar of such a directory; without a path one that came over the wire. Whatever
    /// signatures lie in it are not looked at, which is as if there were none.
    pub fn dir_archive(path: Option<&Path>) -> Self {
        let scopes = path.map(paths).unwrap_or_default();
        Self { name: shown(path), scopes, ..Self::unsigned("dir") }
    }

    /// The tar of a root file system; without a path one that came over the wire.
    pub fn tarball(path: Option<&Path>) -> Self {
        Self { name: shown(path), ..Self::unsigned("tarball") }
    }

    /// An image of the store with these directories.
    pub fn stored(graph_root: &Path, run_root: &Path, id: &ImageId) -> Self {
        let (root, run) = (graph_root.display(), run_root.display());
        let store = format!("[overlay@{root}]");
        Self {
            transport: "containers-storage",
            name: format!("[overlay@{root}+{run}]@{id}"),
            scopes: vec![format!("{store}@{id}"), store, format!("[{root}]")],
            may_be_signed: true,
        }
    }

    /// The same image, which messages call by this name.
    #[must_use]
    pub fn called(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same image, known to have no signatures.
    #[must_use]
    pub fn without_signatures(self) -> Self {
        Self { may_be_signed: false, ..self }
    }

    fn unsigned(transport: &'static str) -> Self {
        Self { transport, name: String::new(), scopes: Vec::new(), may_be_signed: false }
    }

    /// The transport, `docker` for example.
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// Whether an image can have signatures there.
    pub fn may_be_signed(&self) -> bool {
        self.may_be_signed
    }

    /// The scopes that include it, the most precise first.
    pub(super) fn scopes(&self) -> &[String] {
        &self.scopes
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.name)
    }
}

/// As the tools call what they read from their standard input.
fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "-".to_owned(), |path| path.display().to_string())
}

/// A path and its parents without the root, which is no scope.
fn paths(path: &Path) -> Vec<String> {
    let all = path.ancestors().map(|path| path.display().to_string());
    all.filter(|path| path.len() > 1).collect()
}

/// What follows the repository of a name that has a tag or a digest.
fn suffix(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("@{digest}"),
        (None, tag) => format!(":{}", tag.unwrap_or("latest")),
    }
}

/// A full name, its repository, the repository's parents, and the domains above its own.
fn names(reference: &Reference) -> Vec<String> {
    let repository = reference.repository();
    let mut scopes = vec![format!("{repository}{}", suffix(reference))];
    let mut name = repository.as_str();
    scopes.push(name.to_owned());
    while let Some((parent, _)) = name.rsplit_once('/') {
        scopes.push(parent.to_owned());
        name = parent;
    }
    let mut domain = name.split(':').next().unwrap_or_default();
    while let Some((_, parent)) = domain.split_once('.') {
        scopes.push(format!("*.{parent}"));
        domain = parent;
    }
    scopes
}
