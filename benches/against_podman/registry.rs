//! An image between a store and a registry: Debian's `docker-registry` on the loopback interface, which
//! has to share the processors with both servers.

use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::disk::Disk;
use crate::image::{Image, NAME};
use crate::measure::{DISK, Kind, MIB, in_turn, nanoseconds};
use crate::process;
use crate::report::{Required, Row, Unit};
use crate::support::registry::Registry;
use crate::support::{Server, Store};

/// Clients that want one image at the same time.
const CLIENTS: usize = 8;
/// How often the same is done once more: it takes milliseconds, of which one alone says little.
const AGAIN: usize = 9;

/// A store with the image, which is in `archive`.
fn loaded(disk: &Disk, archive: &Path) -> Store {
    let store = Store::new_in(disk.path());
    let loader = Kind::ImagedNoSync.start(&store);
    assert_eq!(loader.client().load(archive), [NAME]);
    assert!(loader.stop().success());
    disk.sync();
    store
}

/// The whole image to an empty registry, and once more.
pub(crate) fn pushes(parent: &Path, archive: &Path, image: &Image, rounds: usize) -> Vec<Row> {
    let mut first = Row::new("push to a registry", Unit::Time, Required::Ratio(4.0));
    let mut again = Row::new("  the same once more", Unit::Time, Required::Ratio(5.0));
    let mut sent = Row::new("  sent / unpacked", Unit::Share, Required::Nothing);
    let mut peak =
        Row::new("memory, most while pushing", Unit::Memory, Required::AtMost(64.0 * MIB));
    for round in 0..rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: push, {kind:?}");
            let disk = Disk::new(parent, DISK);
            let store = loaded(&disk, archive);
            let registry = Registry::plain();
            let server = kind.start(&store);
            let push = || {
                let to = format!("{}/bench:1", registry.host());
                let route = format!("/images/{NAME}/push?destination={to}&tlsVerify=false");
                let start = Instant::now();
                server.client().post(&route).expect(200);
                nanoseconds(start)
            };
            let (time, most) = process::peak(server.pid(), push);
            kind.add(&mut first, time);
            kind.add(&mut peak, most as f64);
            (0..AGAIN).for_each(|_| kind.add(&mut again, push()));
            kind.add(&mut sent, registry.stored() as f64 / image.unpacked as f64);
        }
    }
    vec![first, again, sent, peak]
}

/// The whole image from a registry that Podman has pushed it to, into an empty store, once more, and
/// into an empty store by eight clients at once.
pub(crate) fn pulls(parent: &Path, archive: &Path, image: &Image, rounds: usize) -> Vec<Row> {
    let mut first = Row::new("pull from a registry", Unit::Time, Required::Ratio(4.0));
    let mut again = Row::new("  the same once more", Unit::Time, Required::Ratio(5.0));
    let mut many = Row::new("  by 8 clients at once", Unit::Time, Required::Nothing);
    let mut peak =
        Row::new("memory, most while pulling", Unit::Memory, Required::AtMost(64.0 * MIB));
    let mut crowd = Row::new("  by 8 clients at once", Unit::Memory, Required::AtMost(64.0 * MIB));
    let registry = Registry::plain();
    let name = format!("{}/bench:1", registry.host());
    {
        let disk = Disk::new(parent, DISK);
        let store = loaded(&disk, archive);
        store.podman(["push", "--quiet", "--tls-verify=false", NAME, &name]);
    }
    let pull = |server: &Server| {
        let route = format!("/images/pull?reference={name}&tlsVerify=false&quiet=true");
        let start = Instant::now();
        server.client().post(&route).expect(200);
        nanoseconds(start)
    };
    let assert_pulled = |store: &Store| assert_eq!(store.diff_ids(&name), image.diff_ids);
    for round in 0..rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: pull, {kind:?}");
            let disk = Disk::new(parent, DISK);
            let store = Store::new_in(disk.path());
            let server = kind.start(&store);
            let (time, most) = process::peak(server.pid(), || pull(&server));
            assert_pulled(&store);
            kind.add(&mut first, time);
            kind.add(&mut peak, most as f64);
            (0..AGAIN).for_each(|_| kind.add(&mut again, pull(&server)));
            drop((server, store));
            let store = Store::new_in(disk.path());
            let server = kind.start(&store);
            let start = Instant::now();
            let ((), most) = process::peak(server.pid(), || {
                thread::scope(|scope| {
                    for _ in 0..CLIENTS {
                        scope.spawn(|| pull(&server));
                    }
                });
            });
            // Podman answers 200 to those of them that fail, but one does not.
            assert_pulled(&store);
            kind.add(&mut many, nanoseconds(start));
            kind.add(&mut crowd, most as f64);
        }
    }
    vec![first, again, many, peak, crowd]
}
