//! What is said about the server, the store and the layers; routes of others; odd requests.

use crate::pair::Request;
use crate::play::Play;

pub(crate) fn play(play: &mut Play) {
    about_the_server(play);
    changes(play);
    play.get_all([
        "/images/shorty/resolve",
        "/images/base/resolve",
        "/system/df",
        "/system/df?type=image",
    ]);
    copies(play);
    paths(play);
    families(play);
}

fn about_the_server(play: &mut Play) {
    for path in ["/_ping", "/libpod/_ping", "/v5.0.0/_ping", "/v5.0.0/libpod/_ping"] {
        play.raw("GET", path);
        play.raw("HEAD", path);
    }
    for path in ["/version", "/v1.41/version", "/v4.0.0/libpod/version", "/v4.0.0/libpod/info"] {
        play.raw("GET", path);
    }
    let named = |name: &str| Request {
        method: "GET".to_owned(),
        target: "/v5.0.0/libpod/images/base/exists".to_owned(),
        headers: vec![("X-Reference-Id".to_owned(), name.to_owned())],
        ..Request::default()
    };
    play.request("/images/base/exists, with an ID", &named("abc"));
}

fn changes(play: &mut Play) {
    for name in ["base", "leaf:1", "$middle", "sibling:1", "rich:1", "bare:1", "list:1", "made"] {
        play.get(&format!("/images/{name}/changes"));
        play.get(&format!("/containers/{name}/changes"));
    }
    play.get_all([
        "/images/foreign/changes",
        "/containers/foreign/changes",
        "/images/localhost%2Fleaf:1/changes",
        "/images/localhost/leaf:1/changes",
        "/images/$made/changes",
        "/images/$layer-made/changes",
        "/images/leaf:1/changes?difftype=image",
        "/images/leaf:1/changes?diffType=all",
        "/images/leaf:1/changes?difftype=container",
        "/images/made/changes?difftype=container",
        "/images/made/changes?difftype=image",
        "/images/leaf:1/changes?difftype=",
        "/images/leaf:1/changes?difftype=bogus",
        "/images/leaf:1/changes?parent=base",
        "/images/leaf:1/changes?parent=$middle",
        "/images/leaf:1/changes?parent=nobody",
        "/images/leaf:1/changes?parent=",
        "/images/nobody/changes",
        "/images/nobody/changes?difftype=image",
        "/images/nobody/changes?difftype=container",
        "/images/UPPER/changes",
        "/images/nothing:1/changes",
        "/containers/nobody/changes",
    ]);
}

/// Copies to other hosts, of which only the refusals can be compared.
fn copies(play: &mut Play) {
    for query in
        ["", "?destination=", "?destination=user@localhost::", "?destination=x&quiet=maybe"]
    {
        play.post(&format!("/images/scp/base{query}"));
    }
    play.post("/images/scp/root@localhost::base");
    play.post("/images/scp/nobody");
    play.get("/images/scp/base");
}

fn paths(play: &mut Play) {
    for (method, path) in [
        // Versions.
        ("GET", "/v0/libpod/images/base/exists"),
        ("GET", "/v99.1.2-rc1/libpod/images/base/exists"),
        ("GET", "/v4.3.1/libpod/images/base/exists"),
        ("GET", "/v1/libpod/images/base/exists"),
        ("GET", "/vx/libpod/images/base/exists"),
        ("GET", "/5.0.0/libpod/images/base/exists"),
        ("GET", "/v/libpod/images/base/exists"),
        ("GET", "/v5_0/libpod/images/base/exists"),
        ("GET", "/libpod/images/base/exists"),
        ("GET", "/libpod/images/json"),
        ("GET", "/libpod/version"),
        ("GET", "/v5.0.0/v5.0.0/libpod/images/json"),
        // Slashes and dots.
        ("GET", "/v5.0.0/libpod//images/json"),
        ("GET", "/v5.0.0/libpod/images//json"),
        ("GET", "/v5.0.0/libpod/images/json/"),
        ("GET", "/v5.0.0/libpod/images/./json"),
        ("GET", "/v5.0.0/libpod/images/../images/json?all=true"),
        ("GET", "/v5.0.0/libpod/images/docker://base/json"),
        ("POST", "/v5.0.0/libpod//images/prune"),
        ("DELETE", "/v5.0.0/libpod/images//nobody"),
        ("GET", "//v5.0.0/libpod/images/json"),
        ("GET", "/v5.0.0/libpod/images/base/exists/"),
        ("GET", "/v5.0.0/libpod/images/base%2F/exists"),
        ("GET", "/v5.0.0/libpod/images/%2Fbase/exists"),
        ("GET", "/v5.0.0/libpod/images/a%2F%2Fb/exists"),
        ("GET", "/v5.0.0/libpod/images/base%ff/exists"),
        ("GET", "/v5.0.0/libpod/images/base%00/exists"),
        ("GET", "/v5.0.0/libpod/images/b%61se/exists"),
        ("GET", "/v5.0.0/libpod/images/bä/exists"),
        ("GET", "/v5.0.0/libpod/images/%20/json"),
        ("GET", "/v5.0.0/libpod/images/base%3Alatest/json?size=1"),
        // No such route, or another method.
        ("GET", "/"),
        ("GET", "/v5.0.0"),
        ("GET", "/v5.0.0/"),
        ("GET", "/v5.0.0/libpod"),
        ("GET", "/v5.0.0/libpod/"),
        ("GET", "/v5.0.0/libpod/images"),
        ("GET", "/v5.0.0/libpod/images/"),
        ("GET", "/v5.0.0/libpod/images/base"),
        ("GET", "/v5.0.0/libpod/images/base/bogus"),
        ("GET", "/v5.0.0/libpod/bogus"),
        ("GET", "/v5.0.0/libpod/auth"),
        ("HEAD", "/v5.0.0/libpod/images/json"),
        ("HEAD", "/v5.0.0/libpod/images/base/exists"),
        ("HEAD", "/v5.0.0/libpod/info"),
        ("PUT", "/v5.0.0/libpod/images/json"),
        ("PATCH", "/v5.0.0/libpod/images/base/json"),
        ("OPTIONS", "/v5.0.0/libpod/images/json"),
        ("BREW", "/v5.0.0/libpod/images/json"),
        ("POST", "/v5.0.0/libpod/images/json"),
        ("POST", "/v5.0.0/libpod/images/base"),
        ("POST", "/v5.0.0/libpod/images/base/exists"),
        ("POST", "/v5.0.0/libpod/images/base/bogus"),
        ("POST", "/v5.0.0/libpod/images/export"),
        ("POST", "/v5.0.0/libpod/images/remove"),
        ("GET", "/v5.0.0/libpod/images/load"),
        ("GET", "/v5.0.0/libpod/images/import"),
        ("GET", "/v5.0.0/libpod/images/prune"),
        ("GET", "/v5.0.0/libpod/images/remove"),
        ("GET", "/v5.0.0/libpod/images/base/tag"),
        ("GET", "/v5.0.0/libpod/images/base/untag"),
        ("PUT", "/v5.0.0/libpod/images/load"),
        ("POST", "/v5.0.0/libpod/_ping"),
        ("DELETE", "/v5.0.0/libpod/version"),
        ("POST", "/v5.0.0/libpod/info"),
        ("POST", "/v5.0.0/libpod/system/df"),
        ("POST", "/v5.0.0/libpod/containers/base/changes"),
        ("TRACE", "/_ping"),
        ("DELETE", "/_ping"),
    ] {
        play.raw(method, path);
    }
}

/// Routes of containers and other things, which are not served here.
fn families(play: &mut Play) {
    for (method, route) in [
        ("GET", "/containers/json"),
        ("GET", "/containers/made/exists"),
        ("GET", "/containers/nobody/json"),
        ("DELETE", "/containers/nobody"),
        ("GET", "/pods/json"),
        ("GET", "/pods/nobody/exists"),
        ("GET", "/volumes/json"),
        ("GET", "/networks/json"),
        ("GET", "/secrets/json"),
        ("GET", "/manifests/list:1/exists"),
        ("GET", "/manifests/list:1/json"),
        ("GET", "/exec/nobody/json"),
        ("GET", "/generate/nobody/kube"),
    ] {
        play.send(method, route, b"");
    }
}
