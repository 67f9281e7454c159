//! Images that go with their containers, and lists of images that are empty.

use crate::content;
use crate::play::Play;

pub(crate) fn play(play: &mut Play) {
    // A container of Podman's, whose image is to go by force. Its database is not ours to write.
    play.pair.remember("base", &content::base().image_id(0), &content::base().image_id(0));
    play.delete("/images/$base?force=true");
    play.pair.ours.store.podman(["rm", "made"]);
    play.delete("/images/remove?images=$base&force=true&ignore=true");
    play.get("/images/json?all=true");

    // A container of Buildah's.
    play.post("/images/prune?all=true&external=true");
    play.delete("/images/remove?images=sibling:2&ignore=true");
    play.get("/images/json?all=true");
    play.post("/images/prune?all=true&external=true");

    // A list of images that is empty.
    for archive in [content::rich(), content::base(), content::middle(), content::leaf()] {
        play.send("POST", "/images/load", &archive.build());
    }
    play.delete("/images/remove");
    play.delete("/images/remove?all=true");

    // Stores without images.
    play.get_all(["/images/json", "/images/json?all=true", "/system/df"]);
    play.post("/images/prune");
    play.post("/images/prune?all=true");
    play.delete("/images/remove?all=true");
}
