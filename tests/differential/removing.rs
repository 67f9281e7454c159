//! Removal of one image and of several, and pruning.

use crate::content;
use crate::play::Play;
use crate::support::{DockerArchive, OciArchive};

pub(crate) fn play(play: &mut Play) {
    refusals(play);
    one(play);
    several(play);
    prune(play);
}

fn load(play: &mut Play, archive: &DockerArchive) {
    play.send("POST", "/images/load", &archive.build());
}

fn refusals(play: &mut Play) {
    for route in [
        "/images/nobody",
        "/images/nobody?ignore=true",
        "/images/nobody?ignore=maybe",
        "/images/nobody?force=maybe",
        "/images/nobody?force=true",
        "/images/UPPER",
        "/images/sha256:12",
        "/images/docker:%2F%2Fbase",
        "/images/$base",
        "/images/sha256:$base",
        "/images/base?lookupmanifest=true",
        "/images/nobody?lookupManifest=true",
        "/images/base?lookupmanifest=x",
        // In use by a container of Podman's, and by one of Buildah's.
        "/images/sibling:1",
        "/images/$made",
    ] {
        play.delete(route);
    }
    for query in [
        "?images=nobody",
        "?images=nobody&ignore=true",
        "?images=nobody&images=UPPER",
        "?images=UPPER",
        "?images=nobody&ignore=x",
        "?images=nobody&all=x",
        "?images=nobody&force=x",
        "?images=nobody&noprune=x",
        "?images=nobody&lookupmanifest=x",
        "?images=sibling:1",
        "?images=sibling:1&images=nobody",
        "?images=base&lookupmanifest=true",
        "?images=$base",
        "?images=a,b",
    ] {
        play.delete(&format!("/images/remove{query}"));
    }
}

fn one(play: &mut Play) {
    // Two names of its own left: by ID that is refused, by name it loses the name.
    play.post("/images/sibling:1/tag?repo=sibling&tag=2");
    play.delete("/images/sibling:1");
    play.delete("/images/localhost/sibling:1");
    play.get("/images/sibling:2/exists");

    load(play, &content::rich());
    let rich = content::rich();
    play.pair.remember("rich", &rich.image_id(0), &rich.image_id(0));
    play.delete("/images/$rich");
    play.delete("/images/sha256:$rich");
    play.delete("/images/rich:1");
    play.delete("/images/rich:1");
    play.delete("/images/$rich");
    play.delete("/images/$rich");
    load(play, &content::rich());
    play.delete("/images/$rich?force=true");

    // By a digest, by part of a name, by part of an ID.
    let oci = |name| OciArchive::new(name, &[content::layer(31), content::layer(32)]);
    let digest = |name| oci(name).manifest_blob().to_owned();
    let name = "quay.io/part/of/name:1";
    play.pair.remember("part", &digest(name), &digest(name));
    play.send("POST", "/images/load", &oci(name).build());
    play.delete("/images/quay.io/part/of/name@sha256:$part");
    play.send("POST", "/images/load", &oci(name).build());
    play.delete("/images/of/name:1");
    play.send("POST", "/images/load", &oci(name).build());
    play.post("/images/of/name:1/tag?repo=quay.io/part/of/name&tag=2");
    play.delete("/images/quay.io/part/of/name@sha256:$part");
    play.delete("/images/of/name:2");
    let id = oci(name).image_id()[..10].to_owned();
    play.pair.remember("start", &id, &id);
    play.delete("/images/$start");

    // The parent of a removed image goes too, if nobody needs it.
    let chain = |name, numbers: &[u64]| content::family(name, numbers, "2024-04-04T04:04:04Z");
    load(play, &chain(&[], &[21]));
    load(play, &chain(&[], &[21, 22]));
    load(play, &chain(&["localhost/chain:3"], &[21, 22, 23]));
    play.delete("/images/chain:3");
    load(play, &chain(&["localhost/chain:1"], &[21]));
    load(play, &chain(&[], &[21, 22]));
    load(play, &chain(&["localhost/chain:3"], &[21, 22, 23]));
    play.delete("/images/chain:1");
    play.delete("/images/chain:3");
    load(play, &chain(&[], &[21]));
    load(play, &chain(&["localhost/chain:2"], &[21, 22]));
    play.delete("/images/remove?images=chain:2&noprune=true");
    play.get("/images/json");

    // Manifest lists.
    play.delete("/images/list:1?lookupmanifest=true");
    play.delete("/images/nothing:1");
    play.get("/images/json?all=true");
}

fn several(play: &mut Play) {
    load(play, &content::rich());
    play.delete("/images/remove?images=rich:1&images=rich:2");
    load(play, &content::rich());
    play.delete("/images/remove?images=$rich&images=rich:2");
    play.delete("/images/remove?images=rich:1&images=rich:1&images=localhost/rich:1");
    load(play, &content::rich());
    play.delete("/images/remove?images=nobody&images=$rich&force=true&images=UPPER");
    load(play, &content::rich());
    play.delete("/images/remove?images=rich:1&images=nobody&images=sibling:2&ignore=true");
    play.delete("/images/remove?Images=rich:2&IGNORE=1");
    load(play, &content::rich());
    load(play, &content::dangling(33));
    play.delete("/images/remove?images=$rich&images=rich:1&images=rich:2");
}

fn prune(play: &mut Play) {
    for query in [
        "?all=maybe",
        "?external=maybe",
        "?filters=",
        "?filters=x",
        r#"?filters={"foo":["x"]}"#,
        r#"?filters={"all":["zz"]}"#,
        r#"?filters={"all":["true"]}"#,
        r#"?filters={"until":["abc"]}"#,
        r#"?filters={"label":["nobody"]}"#,
        r#"?filters={"until":["2000-01-01"]}"#,
        r#"?filters={"label":["lost=11","lost=12"]}"#,
    ] {
        play.post(&format!("/images/prune{query}"));
    }
    play.get("/images/json?all=true");
    load(play, &content::dangling(34));
    load(play, &content::dangling(35));
    load(play, &content::dangling(36));
    for query in [
        r#"?filters={"label":["lost","34"]}"#,
        r#"?filters={"label":["lost=34"]}"#,
        r#"?filters={"label!":["lost=36"]}"#,
        r#"?filters={"dangling":["false"],"label":["lost=99"]}"#,
        r#"?filters={"dangling":["false"],"label":["lost=36"]}"#,
        "",
        "",
        r#"?all=true&filters={"label":["kind=nothing"]}"#,
        r#"?all=true&filters={"until":["2023-07-08"]}"#,
        "?all=true",
        "?all=true",
    ] {
        play.post(&format!("/images/prune{query}"));
    }
    play.get("/images/json?all=true");
}
