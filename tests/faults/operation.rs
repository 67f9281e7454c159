//! What can be done to the store of a [scene](crate::scene).

use std::io;

use crate::scene::{DOOMED, NEW, USED, base};
use crate::support::http::escape;
use crate::support::{Client, DockerArchive, Faulty, Layer, OciArchive, Response};

/// Something that writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    LoadDocker,
    LoadOci,
    Import,
    Pull,
    /// Of a container of Buildah.
    Commit,
    Tag,
    Untag,
    Remove,
    /// With its containers.
    RemoveUsed,
    Prune,
}

impl Operation {
    /// What a table of figures calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::LoadDocker => "loading a docker archive",
            Self::LoadOci => "loading an OCI archive",
            Self::Import => "importing",
            Self::Pull => "pulling",
            Self::Commit => "committing a container",
            Self::Tag => "tagging",
            Self::Untag => "untagging",
            Self::Remove => "removing",
            Self::RemoveUsed => "removing with containers",
            Self::Prune => "pruning",
        }
    }

    /// Does it; an error when the connection breaks.
    pub(crate) fn run(self, client: &Client, registry: &Faulty) -> io::Result<Response> {
        let doomed = escape(DOOMED);
        match self {
            Self::LoadDocker => client.try_load_bytes(DockerArchive::new(&[NEW], &added()).build()),
            Self::LoadOci => client.try_load_bytes(OciArchive::new(NEW, &added()).build()),
            Self::Import => {
                let tar = Layer::random(53, "imported", 8, 2000).tar;
                client.try_import("?reference=localhost/imported", tar)
            }
            Self::Pull => {
                let name = escape(&format!("{}/app:1", registry.host()));
                client
                    .try_post(&format!("/images/pull?reference={name}&tlsVerify=false&quiet=true"))
            }
            Self::Commit => client.try_post("/commit?container=one&repo=localhost/committed"),
            Self::Tag => client.try_post(&format!("/images/{doomed}/tag?repo=localhost/new&tag=1")),
            Self::Untag => {
                client.try_post(&format!("/images/{doomed}/untag?repo=localhost/doomed&tag=1"))
            }
            Self::Remove => client.try_delete(&format!("/images/{doomed}?force=true")),
            Self::RemoveUsed => client.try_delete(&format!("/images/{}?force=true", escape(USED))),
            Self::Prune => client.try_post("/images/prune?all=true"),
        }
    }
}

/// A registry with the image that is to be pulled.
pub(crate) fn registry() -> Faulty {
    let registry = Faulty::start();
    registry.put("app", "1", &OciArchive::new("app:1", &added()));
    registry
}

/// The layers of the image that is to come.
fn added() -> [Layer; 3] {
    [base(), Layer::random(52, "new", 12, 3000), Layer::files(&[("c", b"c")])]
}
