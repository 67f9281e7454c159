//! Manifest lists: what they stand for, and what keeps their instances.

use crate::content;
use crate::play::Play;
use crate::support::{DockerArchive, Store};

const NAME: &str = "localhost/several:1";

/// The instance for this platform, and one for another.
fn instances() -> [DockerArchive; 2] {
    let time = "2022-02-02T02:02:02Z";
    let other = content::family(&["localhost/instance:2"], &[61, 63], time);
    [
        content::family(&["localhost/instance:1"], &[61, 62], time),
        other.configured(|config| config["architecture"] = "arm64".into()),
    ]
}

/// Makes the list in both stores, with `podman manifest`.
fn create(play: &mut Play) {
    for (number, archive) in instances().iter().enumerate() {
        play.send("POST", "/images/load", &archive.build());
        let id = archive.image_id(0);
        play.pair.remember(&format!("instance{number}"), &id, &id);
    }
    let [ours, theirs] = [&play.pair.ours.store, &play.pair.theirs.store].map(|store| {
        let id = store.podman(["manifest", "create", NAME]);
        for instance in ["localhost/instance:1", "localhost/instance:2"] {
            store.podman(["manifest", "add", NAME, &store.reference(instance)]);
        }
        id
    });
    play.pair.remember("several", &ours, &theirs);
}

pub(crate) fn play(play: &mut Play) {
    create(play);
    for name in ["several:1", "$several", "sha256:$several", "localhost/several:1"] {
        for action in ["exists", "json", "history", "tree", "tree?whatrequires=true", "get"] {
            play.get(&format!("/images/{name}/{action}"));
        }
    }
    look(play);

    // Instances without names are not dangling.
    play.post("/images/instance:1/untag");
    play.post("/images/instance:2/untag");
    look(play);
    play.post("/images/prune?buildcache=false");
    restore(&play.pair.ours.store);
    restore(&play.pair.theirs.store);
    play.get_all(["/images/$instance0/exists", "/images/$instance1/exists"]);

    // The name is given to the list, and taken from the instance.
    play.post("/images/several:1/tag?repo=other&tag=1");
    play.post("/images/$several/tag?repo=other&tag=2");
    look(play);
    play.post("/images/other:1/untag?repo=other&tag=1");
    play.post("/images/$several/untag");
    play.delete("/images/other:1");
    play.delete("/images/remove?images=other:1");
    play.delete("/images/other:1?lookupManifest=true");
    play.delete("/images/$several?lookupManifest=true");
    play.delete("/images/remove?images=other:2&images=nobody&lookupManifest=true");
    look(play);
    play.delete("/images/instance:1?lookupManifest=true");
    play.delete("/images/$instance0?lookupManifest=true");

    // Without the instance for this platform the list itself is meant.
    play.delete("/images/$instance0");
    play.get_all(["/images/several:1/json", "/images/several:1/exists", "/images/$several/tree"]);
    look(play);
    play.post("/images/several:1/tag?repo=third&tag=1");
    play.delete("/images/third:1");
    play.delete("/images/$several");
    // What it kept is dangling now.
    look(play);
    play.post("/images/prune");
    look(play);

    create(play);
    play.post(r#"/images/prune?all=true&filters={"manifest":["true"]}"#);
    look(play);
    play.delete("/images/remove?images=instance:1&images=instance:2");
    look(play);
}

/// Puts the nameless instances at the end of the store, whether they are there or not.
fn restore(store: &Store) {
    for archive in instances() {
        store.podman(["rmi", "--ignore", &archive.image_id(0)]);
        std::fs::write(store.path("archive.tar"), archive.build()).unwrap();
        store.podman(["load", "--quiet", "--input", "archive.tar"]);
        store.podman(["untag", &archive.image_id(0)]);
    }
    std::fs::remove_file(store.path("archive.tar")).unwrap();
}

fn look(play: &mut Play) {
    play.get_all([
        "/images/json?all=false",
        r#"/images/json?filters={"manifest":["true"]}"#,
        r#"/images/json?filters={"dangling":["1"]}"#,
    ]);
}
