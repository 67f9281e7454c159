//! Images from registries: real ones, and one that goes wrong on demand.

mod faults;
mod hosted;
mod names;
mod real;
mod shared;

use std::fs;

use serde_json::Value;

use crate::support::http::escape;
use crate::support::server::imaged;
use crate::support::{Response, Server, Store};

/// The daemon with its own `registries.conf`, whose home is the store's directory.
fn start(store: &Store, registries: &str) -> Server {
    let socket = store.path("api.sock");
    let mut command = imaged(store, &socket);
    fs::write(store.path("registries.conf"), registries).unwrap();
    command.env("CONTAINERS_REGISTRIES_CONF", store.path("registries.conf"));
    command.env("REGISTRY_AUTH_FILE", store.path("auth.json"));
    command.env("HOME", store.dir()).env("IMAGED_LOG", "debug");
    Server::spawn(store, &mut command, &socket)
}

/// The answer to a pull from a registry without TLS.
fn answer(server: &Server, name: &str, query: &str) -> Response {
    let reference = escape(name);
    let query = format!("/images/pull?reference={reference}&tlsVerify=false&{query}");
    server.client().post(&query)
}

/// IDs of what a quiet pull brings.
#[track_caller]
fn pulled(server: &Server, name: &str, query: &str) -> Vec<String> {
    let report = answer(server, name, &format!("quiet=true&{query}")).expect(200).json();
    let ids = crate::support::store::strings(&report["images"]);
    assert_eq!(report["id"].as_str(), ids.last().map(String::as_str));
    ids
}

/// ID of what a quiet pull brings.
#[track_caller]
fn pull(server: &Server, name: &str) -> String {
    let ids = pulled(server, name, "");
    assert_eq!(ids.len(), 1);
    ids.into_iter().next().unwrap()
}

/// Status and message of a pull that fails at once.
#[track_caller]
fn refused(server: &Server, name: &str, query: &str) -> (u16, String) {
    let answer = answer(server, name, &format!("quiet=true&{query}"));
    assert!(answer.status >= 400, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["response"], answer.status);
    (answer.status, error["message"].as_str().unwrap().to_owned())
}

/// The records of an answer.
fn records(answer: &Response) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
