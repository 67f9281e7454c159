//! One scenario on two servers: ours and a real `podman system service`, each with its own store
//! that holds the same. After every request the answers are compared (status, header and body)
//! and so are the files of the stores. What may differ is listed in `accepted.toml`, each with a
//! reason; everything else fails, and so does what is listed and not seen.
//!
//! Needs root, Podman 4.3, Buildah, Skopeo and `containers-storage`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod accepted;
mod compare;
mod content;
mod ending;
mod exporting;
mod importing;
mod listing;
mod lists;
mod loading;
mod naming;
mod normal;
mod pair;
mod play;
mod pulling;
mod pushing;
mod reading;
mod removing;
mod system;
mod tar_form;

#[test]
fn both_servers_answer_alike() {
    normal::begin();
    let mut play = play::Play::new();
    reading::play(&mut play);
    listing::play(&mut play);
    system::play(&mut play);
    exporting::play(&mut play);
    pushing::play(&mut play);
    pulling::play(&mut play);
    naming::play(&mut play);
    loading::play(&mut play);
    importing::play(&mut play);
    lists::play(&mut play);
    removing::play(&mut play);
    ending::play(&mut play);
    play.finish(950);
}
