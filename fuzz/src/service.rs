//! The whole service, on a store of its own.

use std::fs;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use imaged::api::{Api, Settings};
use imaged::engine::local::{LocalEngine, Options};
use imaged::image::PolicyFile;
use imaged::storage::{Error, Store, StoreOptions};
use imaged::sys::Cancel;
use imaged::task::Tasks;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::scratch;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// A service and the directory of its store.
pub(crate) struct Service {
    api: Api,
    _directory: TempDir,
}

impl Service {
    /// On an empty store that takes images from everywhere.
    pub(crate) fn new() -> Self {
        Self::on(scratch::directory()).expect("an empty store")
    }

    fn on(directory: TempDir) -> Result<Self, Error> {
        let path = |name: &str| directory.path().join(name);
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(path("policy.json"), policy).expect("a file");
        let options = StoreOptions {
            graph_root: path("root"),
            run_root: path("run"),
            sync: imaged::storage::SyncMode::None,
            ..StoreOptions::default()
        };
        let store = Store::open(options, &Cancel::new())?;
        let mut options = Options::default();
        options.registry.policy = PolicyFile::Named(path("policy.json"));
        options.registry.silence = std::time::Duration::from_secs(1);
        let engine = LocalEngine::new(store, options, Tasks::new(1));
        Ok(Self { api: Api::new(Arc::new(engine), Settings::default()), _directory: directory })
    }

    /// The body of an answer; `None` for what is no request.
    pub(crate) fn ask(&self, method: &str, target: &[u8]) -> Option<(u16, Vec<u8>)> {
        let request = Request::builder().method(method).uri(target).body(Body::empty()).ok()?;
        RUNTIME.block_on(async {
            let answer = self.api.clone().oneshot(request).await.expect("always an answer");
            let status = answer.status().as_u16();
            // An answer may break off.
            let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap_or_default();
            Some((status, body.to_vec()))
        })
    }
}

/// Paths, queries and filters.
pub fn requests(input: &[u8]) {
    static SERVICE: LazyLock<Service> = LazyLock::new(Service::new);
    let mut words = input.splitn(2, |byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let method = match method {
        b"POST" => "POST",
        b"DELETE" => "DELETE",
        b"HEAD" => "HEAD",
        _ => "GET",
    };
    let has =
        |part: &[u8]| target.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    // These ask other servers, or have no end.
    let elsewhere: [&[u8]; 6] = [b"pull", b"push", b"search", b"auth", b"events", b"url"];
    if !elsewhere.into_iter().any(has) {
        SERVICE.ask(method, target);
    }
}

/// A store in which somebody has written anything into the records: `layers.json`, `images.json`,
/// `containers.json`. Reading it fails, or works.
pub fn records(input: &[u8]) {
    let directory = scratch::directory();
    let root = directory.path().join("root");
    let files = ["layers", "images", "containers"];
    for (name, content) in files.iter().zip(input.split(|byte| *byte == 0)) {
        let place = root.join(format!("overlay-{name}"));
        fs::create_dir_all(&place).expect("a directory");
        fs::write(place.join(format!("{name}.json")), content).expect("a file");
    }
    let Ok(service) = Service::on(directory) else { return };
    for path in [
        "/v5.0.0/libpod/images/json?all=true",
        "/v5.0.0/libpod/system/df",
        "/v5.0.0/libpod/images/a/json",
        "/v5.0.0/libpod/images/a/history",
        "/v5.0.0/libpod/images/a/tree",
        "/v5.0.0/libpod/images/a/changes",
        "/v5.0.0/libpod/images/a/get",
    ] {
        service.ask("GET", path.as_bytes());
    }
    service.ask("DELETE", b"/v5.0.0/libpod/images/a");
    service.ask("POST", b"/v5.0.0/libpod/images/prune?all=true");
}
