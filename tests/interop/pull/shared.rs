//! Layers that are there already, that several want at once, or that broke off.

use std::thread;

use super::{answer, pull, records, refused, start};
use crate::support::check::assert_sound;
use crate::support::{Fault, Faulty, Layer, OciArchive, Server, Store};

fn layers() -> [Layer; 3] {
    [1, 2, 3].map(|seed| Layer::random(seed, "data", 30, 20_000))
}

/// Bytes of all layers of an image as a registry has them.
fn size(image: &OciArchive, layers: usize) -> u64 {
    let blob = |index| {
        let digest = image.layer_blob(index);
        image.blobs().iter().find(|(name, _)| digest.ends_with(name.as_str())).unwrap().1.len()
    };
    (0..layers).map(|index| blob(index) as u64).sum()
}

/// How often each blob of a layer was asked for.
fn requests(registry: &Faulty, image: &OciArchive, layers: usize) -> Vec<usize> {
    (0..layers).map(|index| registry.asked("GET", image.layer_blob(index)).len()).collect()
}

#[test]
fn what_is_in_the_store_is_not_brought_again() {
    let registry = Faulty::start();
    let [one, two, three] = layers();
    let first = OciArchive::new("image:1", &[one.clone(), two.clone()]);
    let second = OciArchive::new("image:2", &[one.clone(), two.clone(), three.clone()]);
    // The same layers in another order: other places in the store.
    let third = OciArchive::new("image:3", &[three, one, two]);
    registry.put("a", "1", &first);
    registry.put("b", "1", &second);
    registry.put("c", "1", &third);
    let store = Store::new();
    let server = start(&store, "");
    let pull = |name: &str| pull(&server, &format!("{}/{name}:1", registry.host()));
    assert_eq!(pull("a"), first.image_id());
    registry.forget();
    // Nothing at all is written when all of it is there.
    let records = store.root().join("overlay-images/images.json");
    let written = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&records).unwrap());
    let before = written();
    assert_eq!(pull("a"), first.image_id());
    assert_eq!(requests(&registry, &first, 2), [0, 0]);
    assert_eq!(registry.asked("GET", "/blobs/").len(), 0);
    assert_eq!(written(), before);
    // What is damaged of it is not there.
    let manifest = store.root().join("overlay-images").join(first.image_id()).join("manifest");
    std::fs::write(&manifest, "{").unwrap();
    assert_eq!(pull("a"), first.image_id());
    assert_eq!(std::fs::read(&manifest).unwrap(), first.blobs().last().unwrap().1);
    assert_sound(&store);
    assert_eq!(pull("b"), second.image_id());
    assert_eq!(requests(&registry, &second, 3), [0, 0, 1]);
    registry.forget();
    assert_eq!(pull("c"), third.image_id());
    assert_eq!(requests(&registry, &third, 3), [0, 0, 0]);
    assert_eq!(store.records("overlay-layers/layers.json").len(), 6);
    assert_sound(&store);
}

/// Eight at once, of two images that share layers, while the registry holds all of them back.
#[test]
fn many_pulls_bring_each_layer_once() {
    let registry = Faulty::start();
    let [one, two, three] = layers();
    let images = [
        OciArchive::new("image:1", &[one.clone(), two.clone()]),
        OciArchive::new("image:2", &[one, two, three]),
    ];
    registry.put("a", "1", &images[0]);
    registry.put("b", "1", &images[1]);
    registry.fail("GET", images[0].layer_blob(0), usize::MAX, Fault::Hold(1000));
    let store = Store::new();
    let server = start(&store, "");
    let all = |pull: &(dyn Fn(usize) + Sync), released: &dyn Fn()| {
        thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || pull(number));
            }
            released();
        });
    };
    all(
        &|number| {
            let name = ["a", "b"][number % 2];
            let answer =
                answer(&server, &format!("{}/{name}:1", registry.host()), "pullProgress=true");
            let records = records(&answer.expect(200));
            assert_eq!(records.last().unwrap()["id"], images[number % 2].image_id());
            // Each is told of each of its layers.
            let landed = |it: &&serde_json::Value| it["pullProgress"]["status"] == "success";
            assert_eq!(records.iter().filter(landed).count(), 3 + number % 2);
        },
        &|| {
            registry.wait_until_held(1);
            // Until all have their manifests, and so want the layer.
            while registry.asked("GET", "/manifests/").iter().filter(|it| it.status == 200).count()
                < 8
            {
                thread::yield_now();
            }
            while registry.asked("GET", "/blobs/").iter().filter(|it| it.status == 200).count() < 8
            {
                thread::yield_now();
            }
            registry.release();
        },
    );
    assert_eq!(requests(&registry, &images[1], 3), [1, 1, 1]);
    assert_sound(&store);
}

/// The first pull loses the connection at 80 % of everything, and gives up; the second one gets the
/// rest and nothing else.
#[test]
fn a_pull_that_was_cut_off_goes_on_where_it_was() {
    let registry = Faulty::start();
    let image = OciArchive::new("image:1", &layers());
    registry.put("app", "1", &image);
    let total = size(&image, 3);
    let last = total - size(&image, 2);
    let cut = last - total / 5;
    registry.fail("GET", image.layer_blob(2), 1, Fault::Cut(cut));
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{}/app:1", registry.host());
    let (status, message) = refused(&server, &name, "retry=0");
    assert_eq!(status, 500);
    assert!(message.contains("unexpected EOF") || message.contains("reading blob"), "{message}");
    assert_eq!(store.image_ids(), Vec::<String>::new());
    let before: u64 = (0..3).map(|index| registry.sent(image.layer_blob(index))).sum();
    assert_eq!(before, total - total / 5);
    registry.forget();
    assert_eq!(pull(&server, &name), image.image_id());
    let rest: u64 = (0..3).map(|index| registry.sent(image.layer_blob(index))).sum();
    assert_eq!(rest, total / 5);
    assert_eq!(requests(&registry, &image, 3), [0, 0, 1]);
    let asked = &registry.asked("GET", image.layer_blob(2))[0];
    assert_eq!(asked.range.as_deref(), Some(&*format!("bytes={cut}-")));
    assert_sound(&store);
}

/// Within one pull connections may break again and again, as long as something comes.
#[test]
fn a_pull_survives_what_passes() {
    for fault in [
        Fault::Reset,
        Fault::Cut(0),
        Fault::Cut(100_000),
        Fault::Status(503, String::new()),
        Fault::Status(502, String::new()),
        Fault::Status(500, String::new()),
        Fault::Status(429, "Retry-After: 1\r\n".into()),
    ] {
        let registry = Faulty::start();
        let image = OciArchive::new("image:1", &layers());
        registry.put("app", "1", &image);
        for part in ["/manifests/", image.layer_blob(0), image.layer_blob(2)] {
            registry.fail("GET", part, 2, fault.clone());
        }
        let store = Store::new();
        let server = start(&store, "");
        let name = format!("{}/app:1", registry.host());
        let id = super::pulled(&server, &name, "retry=3&retrydelay=10ms");
        assert_eq!(id, [image.image_id()], "{fault:?}");
        if let Fault::Cut(count @ 100_000) = fault {
            // Nothing came twice.
            let asked = registry.asked("GET", image.layer_blob(0));
            let ranges: Vec<_> = asked.iter().map(|it| it.range.clone()).collect();
            let from = |at: u64| Some(format!("bytes={at}-"));
            assert_eq!(ranges, [None, from(count), from(2 * count)]);
        }
        assert_sound(&store);
    }
}

/// A server that begins again although it was asked for the rest, or gives another part.
#[test]
fn ranges_that_do_not_count() {
    let registry = Faulty::start();
    let image = OciArchive::new("image:1", &layers());
    registry.put("app", "1", &image);
    let blob = image.layer_blob(0);
    registry.fail("GET", blob, 1, Fault::Cut(100_000));
    registry.fail("GET", blob, 1, Fault::WholeBody);
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{}/app:1", registry.host());
    assert_eq!(super::pulled(&server, &name, "retrydelay=10ms"), [image.image_id()]);
    assert_sound(&store);
    server.client().delete("/images/remove?all=true").expect(200);
    registry.fail("GET", blob, 1, Fault::Cut(100_000));
    registry.fail("GET", blob, 9, Fault::OtherRange);
    let (status, message) = refused(&server, &name, "retrydelay=10ms");
    assert_eq!(status, 500);
    assert!(message.contains("the answer does not begin at byte 100000"), "{message}");
}

/// What a client leaves is given up, at once and without a trace.
#[test]
fn a_client_that_leaves_ends_its_pull() {
    let registry = Faulty::start();
    let image = OciArchive::new("image:1", &layers());
    registry.put("app", "1", &image);
    registry.fail("GET", image.layer_blob(2), 1, Fault::Hold(200_000));
    let store = Store::new();
    let server: Server = start(&store, "");
    let path =
        format!("/v5.0.0/libpod/images/pull?reference={}/app:1&tlsVerify=false", registry.host());
    let mut client = std::os::unix::net::UnixStream::connect(server.socket()).unwrap();
    std::io::Write::write_all(
        &mut client,
        format!("POST {path} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes(),
    )
    .unwrap();
    registry.wait_until_held(1);
    drop(client);
    let staging = || {
        let areas = ["overlay/tempdirs", "overlay-layers/tempdirs"];
        areas
            .iter()
            .any(|area| std::fs::read_dir(store.root().join(area)).is_ok_and(|it| it.count() > 0))
    };
    let start = std::time::Instant::now();
    while staging() {
        assert!(start.elapsed() < crate::support::server::PATIENCE, "staging is left");
        thread::sleep(std::time::Duration::from_millis(5));
    }
    registry.release();
    assert_eq!(store.image_ids(), Vec::<String>::new());
    crate::load::assert_empty(&store);
    // It begins anew.
    assert_eq!(pull(&server, &format!("{}/app:1", registry.host())), image.image_id());
    assert_sound(&store);
}
