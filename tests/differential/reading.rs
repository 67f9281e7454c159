//! Lookups: what every kind of name means, and what is said about the image.

use crate::content;
use crate::play::Play;

/// Names that are looked up on every route: good, ambiguous and bad ones.
const NAMES: &[&str] = &[
    // Full and short names.
    "base",
    "base:latest",
    "localhost/base",
    "docker.io/library/foo:1",
    "foo:1",
    "library/foo:1",
    "docker.io/foo:1",
    "index.docker.io/library/foo:1",
    "leaf:1",
    "quay.io/other/app:v2",
    // By the end of a name, an alias, the search list.
    "c:9",
    "sub/c:9",
    "ub/c:9",
    "shorty:9",
    "other/app:v2",
    "gone:1",
    // Images that are special.
    "sibling:1",
    "rich:1",
    "rich:2",
    "bare:1",
    "terse:1",
    "list:1",
    "nothing:1",
    "$middle",
    // IDs and digests.
    "$base",
    "sha256:$base",
    "$list",
    "$lost",
    "quay.io/by/digest@sha256:$pinned",
    "by/digest@sha256:$pinned",
    "localhost/base@sha256:$pinned",
    // Nothing, or nothing that could be.
    "nobody",
    "leaf",
    "leaf:2",
    "sha256:12",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "UPPER",
    "a%20b",
    "base%40sha256:12",
    "docker:%2F%2Fbase",
    "oci:x",
    "containers-storage:localhost%2Fbase",
];

pub(crate) fn play(play: &mut Play) {
    let remember = |play: &mut Play, name, id: &str| play.pair.remember(name, id, id);
    remember(play, "base", &content::base().image_id(0));
    remember(play, "middle", &content::middle().image_id(0));
    remember(play, "leaf", &content::leaf().image_id(0));
    remember(play, "lost", &content::dangling(11).image_id(0));
    remember(play, "pinned", content::pinned().manifest_blob());
    for route in ["exists", "json", "history", "tree"] {
        for name in NAMES {
            play.get(&format!("/images/{name}/{route}"));
        }
    }
    play.get_all([
        // Parameters.
        "/images/base/json?size=true",
        "/images/base/json?size=yes",
        "/images/base/json?SIZE=maybe",
        "/images/base/tree?whatrequires=true",
        "/images/base/tree?WhatRequires=1",
        "/images/base/tree?whatrequires=",
        "/images/base/tree?whatrequires=maybe",
        "/images/base/tree?whatrequires=true&whatrequires=false",
        "/images/base/tree?whatrequires=x&whatrequires=true",
        "/images/nobody/tree?whatrequires=x",
        "/images/$middle/tree?whatrequires=true",
        "/images/bare:1/tree?whatrequires=true",
        "/images/sibling:1/tree?whatrequires=on",
        "/images/rich:1/tree?whatrequires=T",
        // Spellings of names in paths.
        "/images/localhost%2Fbase/json",
        "/images/localhost%2fbase%3Alatest/exists",
        "/images/quay.io/ns/sub/c:9/exists",
        "/images/quay.io/ns/sub/c:9/json",
        "/images/base%252Fx/exists",
        "/images/ba+se/exists",
        "/images/json/exists",
        "/images/json/json",
        "/images/exists/exists",
    ]);
}
