//! Pulls from a registry that both sides share, and what is refused before there is one.

use crate::pair::Request;
use crate::play::Play;
use crate::support::registry::{Registry, Setup};

pub(crate) fn play(play: &mut Play) {
    let (open, closed) =
        (Registry::plain(), Registry::start(Setup { password: true, ..Setup::default() }));
    open.push(&["pulled/app:1", "pulled/app:2", "pulled/other:latest"]);
    for (name, registry) in [("source", &open), ("guarded", &closed)] {
        play.pair.remember(name, &registry.host(), &registry.host());
    }
    refused(play);
    quiet(play);
    streamed(play);
    // What comes next does not count on them.
    play.delete("/images/remove?images=$source/pulled/app:1&images=$source/pulled/app:2&images=$source/pulled/other");
}

fn refused(play: &mut Play) {
    for query in [
        "",
        "reference=",
        "reference=docker-archive:/x.tar",
        "reference=oci:/x",
        "reference=dir:/x",
        "reference=UPPER",
        "reference=UPPER&quiet=true",
        "reference=docker://UPPER/x",
        "reference=$source/x&policy=bogus",
        "reference=$source/x&tlsVerify=maybe",
        "reference=$source/x&quiet=maybe",
        "reference=sha256:$leaf",
        "reference=sha256:$leaf&policy=missing&quiet=true",
        "reference=nobody&policy=never&quiet=true",
        "reference=127.0.0.1:1/x&tlsVerify=false&quiet=true&retry=0",
        "reference=$source/pulled/app:1&tlsVerify=true&quiet=true&retry=0",
        "reference=$source/none:1&tlsVerify=false&quiet=true&retry=0",
        "reference=$source/pulled/app:none&tlsVerify=false&quiet=true&retry=0",
        "reference=$guarded/x&tlsVerify=false&quiet=true&retry=0",
    ] {
        play.post(&format!("/images/pull?{query}"));
    }
    for header in ["X-Registry-Auth", "X-Registry-Config"] {
        let request = Request {
            method: "POST".to_owned(),
            target: "/v5.0.0/libpod/images/pull?reference=127.0.0.1:1/x".to_owned(),
            headers: vec![(header.to_owned(), "!!!".to_owned())],
            ..Request::default()
        };
        play.request(&format!("/images/pull, bad {header}"), &request);
    }
}

fn quiet(play: &mut Play) {
    for query in [
        "reference=$source/pulled/app:1&policy=missing",
        "reference=$source/pulled/app:1",
        "reference=$source/pulled/app:1&policy=never",
        "reference=$source/pulled/app:1&policy=NEWER",
        "reference=docker://$source/pulled/other",
        "reference=$source/pulled/app&allTags=true",
        "reference=base&policy=missing",
        "reference=leaf:1&policy=never",
        "reference=$leaf&policy=newer",
    ] {
        play.post(&format!("/images/pull?quiet=true&tlsVerify=false&{query}"));
    }
}

/// Of one layer, so that the order of the records is no accident.
fn streamed(play: &mut Play) {
    for query in [
        "reference=$source/pulled/app:2",
        "reference=docker://$source/pulled/app:2",
        "reference=$source/pulled/app:2&policy=missing",
    ] {
        play.post(&format!("/images/pull?tlsVerify=false&{query}"));
    }
}
