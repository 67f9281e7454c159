//! Pushes to registries, and what is refused before there is one. Each side has registries of its own:
//! Debian's gets confused when two push the same blob into one repository at once.

use crate::pair::Request;
use crate::play::Play;
use crate::support::registry::{Registry, Setup};

pub(crate) fn play(play: &mut Play) {
    let closed = Setup { password: true, ..Setup::default() };
    let open = [Registry::plain(), Registry::plain()];
    let closed = [Registry::start(closed), Registry::start(closed)];
    for (name, [ours, theirs]) in [("registry", &open), ("closed", &closed)] {
        play.pair.remember(name, &ours.host(), &theirs.host());
    }
    refused(play);
    quiet(play);
    streamed(play);
}

fn refused(play: &mut Play) {
    for route in [
        "base/push?destination=docker-archive:/x.tar",
        "base/push?destination=dir:/x",
        "base/push?destination=containers-storage:x",
        "base/push?destination=UPPER/x",
        "base/push?destination=UPPER/x:1",
        "base/push?destination=docker://UPPER/x",
        "base/push?destination=$registry/x&format=bogus",
        "base/push?destination=$registry/x&compressionFormat=bogus",
        "base/push?destination=$registry/x&tlsVerify=maybe",
        "base/push?destination=$registry/x&quiet=maybe",
        "base/push?destination=$registry/x",
        "base/push?destination=$registry/x&tlsVerify=true",
        "base/push?destination=127.0.0.1:1/x&tlsVerify=false&retry=0",
        "base/push?destination=$closed/x&tlsVerify=false&retry=0",
        "nobody/push?destination=$registry/x&tlsVerify=false",
        "UPPER/push?destination=$registry/x&tlsVerify=false",
        "docker:%2F%2Fbase/push?destination=$registry/x&tlsVerify=false",
        "nothing:1/push?destination=$registry/nothing:1&tlsVerify=false",
        "base/push?destination=$registry/x@sha256:$base&tlsVerify=false",
    ] {
        play.post(&format!("/images/{route}"));
    }
    for header in ["X-Registry-Auth", "X-Registry-Config"] {
        let request = Request {
            method: "POST".to_owned(),
            target: "/v5.0.0/libpod/images/base/push?destination=127.0.0.1:1/x".to_owned(),
            headers: vec![(header.to_owned(), "!!!".to_owned())],
            ..Request::default()
        };
        play.request(&format!("/images/base/push, bad {header}"), &request);
    }
}

fn quiet(play: &mut Play) {
    for name in ["base", "leaf:1", "rich:1", "quay.io/other/app:v2", "terse:1", "$leaf"] {
        play.post(&format!("/images/{name}/push?destination=$registry/quiet:1&tlsVerify=false"));
    }
    for more in [
        "format=oci",
        "format=v2s2",
        "format=docker",
        "compressionFormat=gzip",
        "compressionFormat=zstd",
        "compressionFormat=",
        "compress=true",
        "removeSignatures=true",
        "all=true",
        "QUIET=true",
    ] {
        play.post(&format!(
            "/images/leaf:1/push?destination=$registry/more:1&tlsVerify=false&{more}"
        ));
    }
    play.post("/images/base/push?destination=docker://$registry/quiet&tlsVerify=false");
    play.post("/images/list:1/push?destination=$registry/list:1&tlsVerify=false&all=true");
}

/// An image of one layer, so that the order of the records is no accident. Clients of that time get no
/// digest.
fn streamed(play: &mut Play) {
    for (name, more) in [
        ("base", "destination=$registry/stream:1&tlsVerify=false"),
        ("base", "destination=$registry/stream:2&tlsVerify=false&format=v2s2"),
        ("base", "destination=$closed/x&tlsVerify=false&retry=0"),
        ("base", "destination=$registry/x&format=bogus"),
        ("base", "destination=UPPER/x"),
        ("nobody", "destination=$registry/x"),
    ] {
        let route = format!("/libpod/images/{name}/push?quiet=false&{more}");
        play.raw("POST", &format!("/v4.3.1{route}"));
    }
    play.post("/images/base/push?quiet=false&destination=$registry/stream:3&tlsVerify=false");
}
