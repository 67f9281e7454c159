//! The API in process, over a fake engine.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod errors;
mod fake;
mod log;
mod parameters;
mod replay;
mod routing;
mod sample;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use imaged::engine::ImageEngine;
use tower::ServiceExt as _;

/// What came back.
struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// Sends `request` to an API over `engine`. A body that fails is a failed test.
async fn call(engine: Arc<dyn ImageEngine>, request: Request) -> Answer {
    answer(respond(engine, request).await).await
}

/// As [`call`], by the user the API runs as.
async fn call_as_own_user(engine: Arc<dyn ImageEngine>, mut request: Request) -> Answer {
    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    let peer = ours.peer_cred().unwrap();
    request.extensions_mut().insert(peer);
    let mut settings = imaged::api::Settings::default();
    settings.user = Some(peer.uid());
    let Ok(response) = imaged::api::Api::new(engine, settings).oneshot(request).await;
    answer(response).await
}

async fn answer(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn respond(engine: Arc<dyn ImageEngine>, request: Request) -> Response {
    let Ok(response) = imaged::api::router(engine).oneshot(request).await;
    response
}

/// A request without body.
fn request(method: &str, target: &str) -> Request {
    Request::builder().method(method).uri(target).body(Body::empty()).unwrap()
}
