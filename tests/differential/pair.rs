//! Two stores with the same content, and a server on each: ours and Podman's.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value};

use crate::content;
use crate::support::server::{imaged, podman_service};
use crate::support::store::strings;
use crate::support::{Response, Server, Store};

/// One store, its server, and the names of what is random in it.
pub(crate) struct Side {
    pub(crate) store: Store,
    server: Option<Server>,
    /// Texts that differ between the sides by their nature, by name.
    pub(crate) symbols: BTreeMap<String, String>,
}

/// Texts and what to write for them.
pub(crate) type Masks = Vec<(String, String)>;

/// What a server answered, or how the connection ended.
pub(crate) type Answer = Result<Response, String>;

impl Side {
    fn new(podman: bool) -> Self {
        let store = Store::new();
        let symbols = BTreeMap::from([("dir".to_owned(), store.dir().display().to_string())]);
        let mut side = Self { store, server: None, symbols };
        content::fill(&mut side);
        let registries = side.store.path("registries.conf");
        fs::write(&registries, content::REGISTRIES).unwrap();
        let socket = side.store.path("api.sock");
        let mut command = match podman {
            true => podman_service(&side.store, &socket),
            false => imaged(&side.store, &socket),
        };
        command.env("CONTAINERS_REGISTRIES_CONF", registries);
        if !podman {
            // Podman does not wait for the disk either, and others may keep it busy.
            command.args(["--sync", "none"]);
        }
        side.server = Some(Server::spawn(&side.store, &mut command, &socket));
        side
    }

    /// Sends a request in which `$NAME` stands for a symbol.
    fn send(&self, request: &Request) -> Answer {
        let target = escape(&self.expand(&request.target));
        let client = self.server.as_ref().expect("set when made").client();
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client
            .send(&request.method, &target, &headers, request.body.clone().into())
            .map_err(|error| format!("broken: {error}"))
    }

    /// `text` with symbols replaced by what they stand for. The longest name wins.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in self.symbols.iter().rev() {
            text = text.replace(&format!("${name}"), value);
        }
        text
    }

    /// What the files of the store say: images in their order, containers, layers.
    pub(crate) fn records(&self) -> Value {
        let images = self.store.records("overlay-images/images.json");
        let images = images.iter().map(|image| {
            let mut names = strings(&image["names"]);
            names.sort();
            let data = strings(&image["big-data-names"]);
            let mut data: Vec<String> =
                data.into_iter().filter(|key| !key.starts_with("signature")).collect();
            data.sort();
            serde_json::json!({
                "id": image["id"], "names": names, "layer": image["layer"], "data": data,
            })
        });
        let ids = |file| {
            let records = self.store.records(file);
            // By ID, so that what is missing shows.
            let ids = records.iter().filter_map(|record| record["id"].as_str());
            ids.map(|id| (id.to_owned(), Value::Bool(true))).collect::<Map<_, _>>()
        };
        serde_json::json!({
            "images": images.collect::<Vec<_>>(),
            "containers": ids("overlay-containers/containers.json"),
            "layers": ids("overlay-layers/layers.json"),
        })
    }
}

/// A request, the same for both sides but for symbols.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Our side and Podman's.
pub(crate) struct Pair {
    pub(crate) ours: Side,
    pub(crate) theirs: Side,
}

impl Pair {
    /// Both sides, filled and answering.
    pub(crate) fn new() -> Self {
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| Side::new(true));
            let ours = Side::new(false);
            Self { ours, theirs: theirs.join().expect("Podman's side") }
        })
    }

    /// Both answers.
    pub(crate) fn send(&self, request: &Request) -> (Answer, Answer) {
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.theirs.send(request));
            let ours = self.ours.send(request);
            (ours, theirs.join().expect("Podman's side"))
        })
    }

    /// Makes `name` a symbol for these texts.
    pub(crate) fn remember(&mut self, name: &str, ours: &str, theirs: &str) {
        self.ours.symbols.insert(name.to_owned(), ours.to_owned());
        self.theirs.symbols.insert(name.to_owned(), theirs.to_owned());
    }

    /// What to write for each side's own texts: those symbols that differ, longest first.
    pub(crate) fn masks(&self) -> (Masks, Masks) {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for (name, value) in &self.ours.symbols {
            let other = &self.theirs.symbols[name];
            if value == other {
                continue;
            }
            let shown = format!("${name}");
            ours.push((value.clone(), shown.clone()));
            theirs.push((other.clone(), shown.clone()));
            // IDs are also shown shortened.
            if value.len() == 64 {
                ours.push((value[..12].to_owned(), format!("{shown}…")));
                theirs.push((other[..12].to_owned(), format!("{shown}…")));
            }
        }
        (ours, theirs)
    }
}

/// Escapes what may not stand in a request target, so that filters can be written as they are.
fn escape(target: &str) -> String {
    let mut escaped = String::new();
    for byte in target.bytes() {
        match byte {
            b'"' | b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b' ' | b'\\' | b'^' | b'|' | b'`' => {
                escaped.push_str(&format!("%{byte:02X}"));
            }
            0x80.. => escaped.push_str(&format!("%{byte:02X}")),
            _ => escaped.push(char::from(byte)),
        }
    }
    escaped
}
