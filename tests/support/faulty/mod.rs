//! A registry in the test's process that keeps everything in memory, notes every request, and goes
//! wrong where it is told to.
//!
//! | file | its one job |
//! |---|---|
//! | `mod` | what tests see: content, faults, notes |
//! | `serve` | what a registry answers |
//! | `wire` | HTTP/1.1 with connections that are kept |

mod serve;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use serde_json::Value;

use super::OciArchive;
use super::archive::sha256;

/// A running registry, until the test ends.
pub(crate) struct Faulty {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What can go wrong with one answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection is closed before there is an answer. Nothing of the request counts.
    Reset,
    /// The connection is closed after this many bytes of the body were sent.
    Cut(u64),
    /// After this many bytes of the body nothing comes until [`Faulty::release`].
    Hold(u64),
    /// This status, with more header fields, each ending in a line end.
    Status(u16, String),
    /// This status, with an error of the protocol.
    Refuse(u16, &'static str),
    /// The range that is asked for does not count.
    WholeBody,
    /// The first byte of a partial answer is the wrong one, and its header says so.
    OtherRange,
    /// The length is said to be greater by this, and the connection closed after what there is.
    Longer(u64),
    /// One bit in the middle of the body is wrong.
    Flip,
    /// This body, with no word about its length, and the rest of the answer as it should be.
    Body(Vec<u8>),
    /// This many bytes of white space before the body, with no word about their number.
    Padded(u64),
    /// One more header field, in place of that of the registry.
    Header(&'static str, String),
    /// A redirect to the same path and query behind this, `http://127.0.0.1:1` for example.
    Redirect(String),
    /// An upload is read up to this many bytes, which are kept; then the connection is closed.
    CutUpload(u64),
}

/// Who may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    /// Everybody.
    #[default]
    Open,
    /// Who has the password of `support::registry`.
    Password,
    /// Who has a token of this registry's own service, which gives them to everybody.
    Token,
}

/// A request, as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// `Range`.
    pub(crate) range: Option<String>,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Bytes of its body that were read.
    pub(crate) received: u64,
    /// 0 as long as there is no answer.
    pub(crate) status: u16,
    /// Bytes of the answer's body that were sent.
    pub(crate) sent: u64,
}

/// A fault, and to which requests it happens.
struct Rule {
    method: &'static str,
    part: String,
    /// So many come first without it.
    after: usize,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct Repository {
    /// Tags and digests.
    manifests: BTreeMap<String, Manifest>,
    blobs: BTreeMap<String, Arc<[u8]>>,
}

#[derive(Clone)]
struct Manifest {
    media_type: String,
    body: Arc<[u8]>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// By number, with the repository.
    uploads: BTreeMap<usize, (String, Vec<u8>)>,
    /// Counts uploads and tokens.
    next: usize,
    tokens: BTreeSet<String>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// Requests that were forgotten.
    forgotten: usize,
    /// Held answers that began before as many releases go on.
    releases: usize,
    /// Answers that are held.
    held: usize,
}

struct Shared {
    address: SocketAddr,
    door: Door,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Faulty {
    /// An empty registry for everybody, without TLS.
    pub(crate) fn start() -> Self {
        Self::behind(Door::Open)
    }

    /// An empty registry, without TLS.
    pub(crate) fn behind(door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { address, door, state, changed: Condvar::new() });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || wire::connection(&stream, &served));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Puts an image there; the digest of its manifest.
    pub(crate) fn put(&self, repository: &str, tag: &str, image: &OciArchive) -> String {
        let (manifest, blobs) = image.blobs().split_last().unwrap();
        for (_, blob) in blobs {
            self.put_blob(repository, blob);
        }
        self.put_manifest(repository, tag, &manifest.1)
    }

    /// Puts an image there whose manifest is edited first, to make it say what is not true.
    pub(crate) fn put_edited(
        &self,
        repository: &str,
        tag: &str,
        image: &OciArchive,
        edit: impl FnOnce(&mut Value),
    ) -> String {
        self.put(repository, "unedited", image);
        let mut manifest = serde_json::from_slice(&image.blobs().last().unwrap().1).unwrap();
        edit(&mut manifest);
        self.put_manifest(repository, tag, manifest.to_string().as_bytes())
    }

    /// Puts a blob there; its digest.
    pub(crate) fn put_blob(&self, repository: &str, blob: &[u8]) -> String {
        let digest = sha256(blob);
        let mut state = self.shared.state();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), blob.into());
        digest
    }

    /// Puts a manifest or a list there, whose document says of which type it is; its digest.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, body: &[u8]) -> String {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let media_type = document["mediaType"].as_str().unwrap_or("application/json").to_owned();
        let digest = sha256(body);
        let manifest = Manifest { media_type, body: body.into() };
        let mut state = self.shared.state();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.manifests.insert(digest.clone(), manifest.clone());
        repository.manifests.insert(tag.to_owned(), manifest);
        digest
    }

    /// The manifest of a tag or a digest.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        let state = self.shared.state();
        let manifest = state.repositories.get(repository)?.manifests.get(reference)?;
        Some(manifest.body.to_vec())
    }

    /// A blob.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let state = self.shared.state();
        Some(state.repositories.get(repository)?.blobs.get(digest)?.to_vec())
    }

    /// Takes a blob away.
    pub(crate) fn remove_blob(&self, repository: &str, digest: &str) {
        let mut state = self.shared.state();
        state.repositories.get_mut(repository).unwrap().blobs.remove(digest).unwrap();
    }

    /// Lets `fault` happen to the next `times` requests of `method` whose path and query contain
    /// `part`. Of several faults for one request the oldest happens.
    pub(crate) fn fail(&self, method: &'static str, part: &str, times: usize, fault: Fault) {
        self.fail_after(0, method, part, times, fault);
    }

    /// The same, after `after` such requests without it.
    pub(crate) fn fail_after(
        &self,
        after: usize,
        method: &'static str,
        part: &str,
        times: usize,
        fault: Fault,
    ) {
        let rule = Rule { method, part: part.to_owned(), after, times, fault };
        self.shared.state().rules.push(rule);
    }

    /// Ends all faults that are left.
    pub(crate) fn behave(&self) {
        self.shared.state().rules.clear();
    }

    /// Lets the answers go on that are held now.
    pub(crate) fn release(&self) {
        self.shared.state().releases += 1;
        self.shared.changed.notify_all();
    }

    /// Waits until so many answers are held at once.
    #[track_caller]
    pub(crate) fn wait_until_held(&self, count: usize) {
        let state = self.shared.state();
        let patience = super::server::PATIENCE;
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| state.held < count)
            .unwrap();
        assert!(!waited.timed_out(), "{} answers are held: {:#?}", state.held, state.seen);
    }

    /// No token given so far is good any more.
    pub(crate) fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// The requests so far of this method whose path and query contain `part`.
    pub(crate) fn asked(&self, method: &str, part: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.method == method && seen.target.contains(part));
        seen
    }

    /// How many bytes of bodies were sent in answers to `GET` requests whose path contains `part`.
    pub(crate) fn sent(&self, part: &str) -> u64 {
        self.asked("GET", part).iter().map(|seen| seen.sent).sum()
    }

    /// Forgets the requests so far. Those that are still being answered are not noted further.
    pub(crate) fn forget(&self) {
        let mut state = self.shared.state();
        state.forgotten += state.seen.len();
        state.seen.clear();
    }
}
