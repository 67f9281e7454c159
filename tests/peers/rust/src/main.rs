//! Every image call of the crates podman-api and podman-rest-client, and those about the service, over
//! a Unix socket.
//!
//! Usage: rust-peers SOCKET DIRECTORY. The directory has
//!
//! - `images.tar`, a docker-archive of localhost/one:1 and of localhost/two:1 with
//!   quay.io/example/two:2,
//! - `root.tar`, a file system,
//! - `expected.json` with what is in them.
//!
//! The store begins with localhost/base:1 and the container `box` made from it, and ends so.

mod changing;
mod looking;
mod moving;
mod registry;
mod rest;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use podman_api::Podman;
use podman_api::models::LibpodImageSummary;
use podman_api::opts::ImageListOpts;
use serde::Deserialize;

const BASE: &str = "localhost/base:1";
const ONE: &str = "localhost/one:1";
const TWO: &str = "localhost/two:1";
const OTHER: &str = "quay.io/example/two:2";
const CONTAINER: &str = "box";

/// What the test knows in advance.
#[derive(Deserialize)]
struct Expected {
    /// ID of localhost/base:1.
    base: String,
    /// ID of localhost/one:1.
    one: String,
    /// ID of localhost/two:1.
    two: String,
    /// Layers of localhost/two:1.
    diff_ids: Vec<String>,
    /// The layer of `root.tar`.
    root_diff_id: String,
    /// Where the store is.
    store: String,
    /// A registry with `app:1` and `app:2`.
    registry: String,
}

struct Peer {
    podman: Podman,
    expected: Expected,
    directory: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, directory] = arguments.as_slice() else { panic!("SOCKET DIRECTORY") };
    let directory = PathBuf::from(directory);
    let expected = std::fs::read(directory.join("expected.json")).unwrap();
    let peer = Peer {
        podman: Podman::unix(socket),
        expected: serde_json::from_slice(&expected).unwrap(),
        directory,
    };
    peer.service().await;
    peer.load().await;
    peer.look().await;
    rest::all(socket, &peer.expected).await;
    peer.load().await;
    peer.save().await;
    peer.import().await;
    peer.commit().await;
    peer.tag().await;
    peer.registry().await;
    peer.remove().await;
    peer.prune().await;
    peer.events().await;
    peer.refused().await;
    println!("all calls answered");
}

impl Peer {
    fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        std::fs::read(self.directory.join(name)).unwrap()
    }

    /// The names of all images.
    async fn all_names(&self) -> BTreeSet<String> {
        names(&self.podman.images().list(&ImageListOpts::default()).await.unwrap())
    }

    /// The names of one image, and its ID.
    async fn named(&self, image: &str) -> (BTreeSet<String>, String) {
        let found = self.podman.images().get(image).inspect().await.unwrap();
        (found.repo_tags.unwrap().into_iter().collect(), found.id.unwrap())
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn names(images: &[LibpodImageSummary]) -> BTreeSet<String> {
    images.iter().flat_map(|image| image.names.clone().unwrap_or_default()).collect()
}

/// A call that must fail, with this status and with each of these texts.
#[track_caller]
fn fails<T: Debug>(result: podman_api::Result<T>, status: u16, texts: &[&str]) {
    let error = result.expect_err("an error is expected").to_string();
    assert!(error.starts_with(&format!("error {status} ")), "{error}");
    for text in texts {
        assert!(error.contains(text), "{text:?} is not in {error}");
    }
}
