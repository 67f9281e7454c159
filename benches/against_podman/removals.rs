//! Removal of many small images, and of a large one.

use std::path::Path;
use std::time::Instant;

use crate::disk::Disk;
use crate::image::NAME;
use crate::measure::{Bench, DISK, Kind, in_turn, nanoseconds};
use crate::report::{Required, Row, Unit};
use crate::support::{DockerArchive, Layer, Store};

/// Images that nobody has a name for.
const DANGLING: usize = 200;

/// Prunes, then removes what is in `archive`: the deletion of a large image goes on after the answer, and
/// what comes next shares the disk with it.
pub(crate) fn removals(bench: &Bench, archive: &Path) -> Vec<Row> {
    let mut remove = Row::new("removal of the image", Unit::Time, Required::Ratio(3.0));
    let mut prune = Row::new("prune of 200 images", Unit::Time, Required::Ratio(20.0));
    for round in 0..bench.rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: removals, {kind:?}");
            let disk = Disk::new(&bench.parent, DISK);
            let store = Store::new_in(disk.path());
            let loader = Kind::ImagedNoSync.start(&store);
            assert_eq!(loader.client().load(archive), [NAME]);
            loader.client().load_bytes(dangling().build()).expect(200);
            assert!(loader.stop().success());
            disk.sync();
            let server = kind.start(&store);
            let start = Instant::now();
            let pruned = server.client().post("/images/prune").expect(200).json();
            kind.add(&mut prune, nanoseconds(start));
            assert_eq!(pruned.as_array().unwrap().len(), DANGLING);
            let start = Instant::now();
            server.client().delete(&format!("/images/{NAME}")).expect(200);
            kind.add(&mut remove, nanoseconds(start));
        }
    }
    vec![remove, prune]
}

fn dangling() -> DockerArchive {
    (0..DANGLING).fold(DockerArchive::default(), |archive, number| {
        let number = number.to_string();
        archive.and(&[], &[Layer::files(&[("own", number.as_bytes())])])
    })
}
