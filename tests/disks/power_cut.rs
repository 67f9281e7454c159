//! The power goes at any moment, while one client asks for something or several do: an image whose
//! request was answered is there, complete and to the byte; others are whole or absent; what was said
//! to be removed is gone.

use crate::mounted::FileSystem;
use crate::recorded::{AfterCut, Recorded};
use crate::support::check::{assert_sound, check, image_layers};
use crate::support::remains::{assert_agreed, assert_between, assert_whole, images};
use crate::support::soak::{figure, soaking};
use crate::support::{DockerArchive, Layer, Server};

/// Moments of a recording that `make test` tries on each file system, besides those of the answers.
const CUTS: usize = 12;
/// The same in a long run, which makes several recordings.
const MANY_CUTS: usize = 150;
const RECORDINGS: usize = 6;

fn power_cut(kind: FileSystem, who: &str, record: impl Fn() -> Recorded) {
    let (recordings, many) = if soaking() { (RECORDINGS, MANY_CUTS) } else { (1, CUTS) };
    let mut count = 0;
    for _ in 0..recordings {
        let recorded = record();
        for cut in recorded.at_answers().into_iter().chain(recorded.spread_out(many)) {
            let after = recorded.cut(cut);
            judge(&after);
            if count % 8 == 0 {
                assert_sound(&after.store);
                assert_agreed(&after.store);
            }
            count += 1;
        }
    }
    let measured = format!("{}, {who}: cuts, all passed", kind.name());
    figure("power cut", &measured, &count.to_string());
}

/// Requests of one client.
fn one(kind: FileSystem) {
    power_cut(kind, "one client", || Recorded::alone(kind, usize::MAX, &[]));
}

/// Requests of several clients at a time.
fn several(kind: FileSystem) {
    power_cut(kind, "several clients", || Recorded::together(kind));
}

/// Starts the daemon on what is left, and judges it.
fn judge(AfterCut { store, before, after, what, .. }: &AfterCut) {
    let server = Server::start(store);
    let client = server.client();
    let found = images(&client);
    assert_between(&found, before, after, what);
    for id in found.keys() {
        assert!(before.contains_key(id) || after.contains_key(id), "{what}: unknown image {id}");
    }
    assert_whole(&client, &found, &store.path("export.tar"), what);
    // The next write finds what the dead have left.
    let alive = DockerArchive::new(&["localhost/alive:1"], &[Layer::files(&[("a", b"a")])]);
    client.load_bytes(alive.build()).expect(200);
    assert!(server.stop().success(), "{what}");
    let problems = check(&store.root(), &store.runroot());
    assert!(problems.is_empty(), "{what}: the store is damaged:\n{}", problems.join("\n"));
}

#[test]
fn ext4_keeps_what_was_answered() {
    one(FileSystem::Ext4);
}

#[test]
fn xfs_keeps_what_was_answered() {
    one(FileSystem::Xfs);
}

#[test]
fn btrfs_keeps_what_was_answered() {
    one(FileSystem::Btrfs);
}

#[test]
fn ext4_keeps_what_was_answered_to_several_clients() {
    several(FileSystem::Ext4);
}

#[test]
fn xfs_keeps_what_was_answered_to_several_clients() {
    several(FileSystem::Xfs);
}

#[test]
fn btrfs_keeps_what_was_answered_to_several_clients() {
    several(FileSystem::Btrfs);
}

/// The proof that these tests would see a loss: without the wait for the disk there is one.
#[test]
fn what_was_not_synced_is_seen_to_be_lost() {
    let recorded = Recorded::alone(FileSystem::Ext4, 1, &["--sync", "none"]);
    let answered = recorded.at_answers()[0];
    let after = recorded.cut(answered);
    let store = &after.store;
    let problems = check(&store.root(), &store.runroot());
    let layers = image_layers(&store.root());
    let is_there = after.before.keys().all(|id| layers.contains_key(id));
    assert!(!is_there || !problems.is_empty(), "{}: nothing was lost", after.what);
}
