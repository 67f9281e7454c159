//! Several processes of ours on one store: this test program starts itself.

use std::process::{Child, Command};
use std::time::Duration;

use imaged::sys::Cancel;

use crate::support::*;

/// With this variable set, the test below is one of the processes it starts.
const WRITER: &str = "IMAGED_TEST_WRITER";

#[test]
fn add_and_remove_images_on_one_base() {
    const EACH: usize = 6;
    let base = tar(&[("base", "shared by all")]);
    let work = |fixture: &Fixture, who: &str| {
        let store = fixture.open();
        for number in 0..EACH {
            let tars = [base.clone(), tar(&[(who, &number.to_string())])];
            let id = add(&store, &tars, who, &[]);
            assert_eq!(contents(&store, &id), tars);
            let mut transaction = store.begin(&Cancel::new()).unwrap();
            transaction.delete_image(&id).unwrap();
            transaction.commit().unwrap();
        }
    };
    if let Ok(writer) = std::env::var(WRITER) {
        let (directory, who) = writer.split_once('|').unwrap();
        return work(&Fixture::at(directory), who);
    }
    let fixture = Fixture::new();
    let test = "processes::add_and_remove_images_on_one_base";
    let mut children = ["one", "two"].map(|who| start(test, &fixture, who));
    work(&fixture, "three");
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

fn start(test: &str, fixture: &Fixture, who: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--quiet"])
        .env(WRITER, format!("{}|{who}", fixture.directory().display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn an_image_is_whole_or_absent_whenever_its_writer_is_killed() {
    const ROUNDS: u64 = 30;
    let kept = [tar(&[("base", "shared by all")])];
    let tars = [kept[0].clone(), tar(&[("a/", ""), ("a/b", "c")]), tar(&[("top", "of it")])];
    if let Ok(writer) = std::env::var(WRITER) {
        let (directory, _) = writer.split_once('|').unwrap();
        let store = Fixture::at(directory).open();
        // Not for ever, should nobody be left to kill us.
        for _ in 0..1000 {
            let id = add(&store, &tars, "doomed", &["localhost/doomed:1"]);
            let mut transaction = store.begin(&Cancel::new()).unwrap();
            transaction.delete_image(&id).unwrap();
            transaction.commit().unwrap();
        }
        return;
    }
    let fixture = Fixture::new();
    let keeper = add(&fixture.open(), &kept, "kept", &["localhost/kept:1"]);
    let untouched = fixture.leftovers();
    let mut whole = 0;
    for round in 0..ROUNDS {
        let test = "processes::an_image_is_whole_or_absent_whenever_its_writer_is_killed";
        let mut child = start(test, &fixture, "");
        // From before its first write to the middle of its second dozen of images.
        std::thread::sleep(Duration::from_micros(9_000 + 7_919 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = fixture.open();
        let snapshot = store.snapshot(&Cancel::new()).unwrap();
        for image in snapshot.images() {
            let id = &image.record.id;
            let expected = if *id == keeper { &kept[..] } else { &tars[..] };
            assert_eq!(contents(&store, id), expected);
            for (key, size) in &image.record.big_data_sizes {
                let item = store.image_data(image, key).unwrap();
                assert_eq!(i64::try_from(item.len()).unwrap(), *size);
            }
            if *id != keeper {
                whole += 1;
                let mut transaction = store.begin(&Cancel::new()).unwrap();
                transaction.delete_image(id).unwrap();
                transaction.commit().unwrap();
            }
        }
        // What is left is what the kept image needs.
        let snapshot = store.snapshot(&Cancel::new()).unwrap();
        assert_eq!((snapshot.images().len(), snapshot.layers().len()), (1, 1), "round {round}");
        let left = fixture.leftovers();
        assert_eq!(left, untouched, "round {round}");
    }
    println!("found the image whole in {whole} of {ROUNDS} rounds");
}
