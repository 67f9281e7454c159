//! Tars that are broken, or mean harm.

use std::fs;
use std::io::{self, Read};

use imaged::layer::UnpackOptions;
use imaged::sys::Cancel;

use crate::builder::{Item, dir, file, hard_link, symlink, tar};
use crate::support::Unpack;

fn refuse(items: impl IntoIterator<Item = Item>, message: &str) {
    let unpack = Unpack::of(&tar(items)[..]);
    assert_eq!(unpack.error(), message);
    // Whatever the layer tried, its root is still the only thing there.
    let mut beside: Vec<_> =
        fs::read_dir(unpack.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["diff", "split"]);
}

#[test]
fn names_that_lead_out() {
    for name in ["../x", "a/../x", "..", "/..", "a/.."] {
        refuse([file(name, "x")], &format!("invalid name {name:?} in layer"));
    }
    refuse([file("f", ""), hard_link("g", "../f")], "invalid name \"../f\" in layer");
    refuse([file("a/.wh...", "")], "invalid name \"a/.wh...\" in layer");
    refuse([file(".wh..", "")], "invalid name \".wh..\" in layer");
}

#[test]
fn links_that_lead_out() {
    let missing = "No such file or directory (os error 2)";
    refuse(
        [symlink("l", "/etc"), file("l/x", "")],
        "creating directory \"l\": File exists (os error 17)",
    );
    refuse(
        [symlink("l", "../../.."), file("l/x/y", ""), file("l/l/z", ""), hard_link("h", "l/split")],
        &format!("creating hard link \"h\": {missing}"),
    );
    refuse(
        [symlink("l", "../split"), hard_link("m", "l"), file("m/x", "")],
        "creating directory \"m\": File exists (os error 17)",
    );
    refuse(
        [symlink("l", "l"), file("l/x", "")],
        "opening \"l\": Too many levels of symbolic links (os error 40)",
    );
    refuse(
        [symlink("l", "nowhere"), file("l/x/y", "")],
        "creating directory \"l\": File exists (os error 17)",
    );
}

#[test]
fn files_where_directories_should_be() {
    let not_a_directory = "Not a directory (os error 20)";
    refuse([file("f", "x"), file("f/g", "")], &format!("opening \"f\": {not_a_directory}"));
    refuse([file(".wh.f", ""), file("f/g", "")], &format!("opening \"f\": {not_a_directory}"));
    refuse(
        [dir("d"), hard_link("l", "d")],
        "creating hard link \"l\": Operation not permitted (os error 1)",
    );
    refuse(
        [hard_link("l", "missing")],
        "creating hard link \"l\": No such file or directory (os error 2)",
    );
}

#[test]
fn names_that_occur_twice() {
    let message = |name| format!("duplicates of file paths not supported: {name:?}");
    refuse([file("a", ""), file("./a", "")], &message("./a"));
    refuse([dir("a/"), file("a/b", ""), dir("a")], &message("a"));
    refuse([file("a", "x"), symlink("/a", "b")], &message("/a"));
    let exists = "creating whiteout \"a\": File exists (os error 17)";
    refuse([file("a", "x"), file(".wh.a", "")], exists);
    refuse([file("a/b", "x"), file(".wh.a", "")], exists);
}

/// Layers in which the content of a file is lost before the end: whoever stores one cannot give it
/// out again, and has to be told.
#[test]
fn what_replaces_content_makes_a_layer_doubtful() {
    for (items, is_doubtful) in [
        (vec![file("d/e/f", "lost"), symlink("d/e", "x")], true),
        (vec![file("d/e/f", "lost"), file("d", "x")], true),
        (vec![dir("d"), file("d/f", "lost"), symlink("l", "d"), file("l/f", "x")], true),
        (vec![dir("d"), file("d/f", ""), symlink("l", "d"), file("l/f", "x")], false),
        (vec![dir("d"), file("d/f", "kept"), symlink("l", "d"), file("l/g", "x")], false),
        (vec![file("d/f", "kept"), dir("d")], false),
        (vec![file(".wh.f", ""), file("f", "x")], false),
    ] {
        let what = format!("{items:?}");
        let unpack = Unpack::of(&tar(items)[..]);
        assert_eq!(unpack.result.as_ref().unwrap().is_doubtful, is_doubtful, "{what}");
    }
    let twice = || [dir("d"), file("d/f", "same"), symlink("l", "d"), file("l/f", "same")];
    let unpack = Unpack::of(&tar(twice())[..]);
    assert!(unpack.result.as_ref().unwrap().is_doubtful);
    assert!(unpack.rebuild().0 == tar(twice()));
}

#[test]
fn kinds_that_layers_do_not_have() {
    for kind in [b'S', b'V', b'M', b'D', b'7', b'X', b'9'] {
        refuse([Item::new(kind, "a")], &format!("unhandled tar header type {kind}"));
    }
}

#[test]
fn damaged_headers() {
    let at = |offset, reason| format!("invalid tar at byte {offset}: {reason}");
    refuse([file("a", "").pax("uid", "x")], &at(1024, "malformed PAX record"));
    refuse([file("a", "").pax("size", "-5")], &at(1536, "negative size"));
    refuse([file("a", "").pax("uid", "4294967295")], &at(1536, "owner out of range"));
    refuse([file("a", "").pax("size", "9223372036854775807")], &at(1536, "size out of range"));
    refuse(
        [file("a", "").header(|header| header.as_old_mut().size = *b"0000000000x\0")],
        &at(0, "number out of range in header"),
    );
    refuse(
        [file("a", "").pax("path", "n".repeat(4097))],
        "layer exceeds the limit of 4096 bytes in one name",
    );
    refuse(
        [file("a", "").pax("path", "n/".repeat(300))],
        "layer exceeds the limit of 256 directories in one name",
    );
    refuse(
        [file("a", "").pax("comment", "n".repeat(1 << 20))],
        "layer exceeds the limit of 1048576 bytes in one extension header",
    );
    refuse(
        [file("a", "")
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "100")
            .content([b'\n'; 512])],
        "malformed sparse file \"a\": bad map",
    );
}

#[test]
fn trees_that_are_too_deep() {
    let level = |n: usize| format!("l{n}");
    let deep = "d/".repeat(30);
    // Each link leads 30 directories further down; 256 are allowed.
    let items = (0..10).flat_map(|n| {
        let below = if n == 0 { deep.clone() } else { format!("{}/{deep}", level(n - 1)) };
        [dir(&below), symlink(level(n), &below[..below.len() - 1])]
    });
    let message =
        format!("opening \"l7{}\": too many directories below one another", "/d".repeat(17));
    refuse(items, &message);
}

#[test]
fn too_many_entries() {
    let mut options = UnpackOptions::default();
    options.limits.entries = 3;
    let unpack = Unpack::with(&tar((0..4).map(|n| dir(format!("{n}"))))[..], &options);
    assert_eq!(unpack.error(), "layer exceeds the limit of 3 entries");
    // One name can stand for many directories.
    let unpack = Unpack::with(&tar([file("a/b/c/f", "")])[..], &options);
    assert_eq!(unpack.error(), "layer exceeds the limit of 3 entries");
    let unpack = Unpack::with(&tar([file("a/b/f", "")])[..], &options);
    unpack.result.as_ref().unwrap();
}

#[test]
fn what_is_kept_to_the_end_is_bounded() {
    let mut options = UnpackOptions::default();
    options.limits.directories = 10;
    let unpack = Unpack::with(&tar([dir("12345"), dir("678"), dir("9ab")])[..], &options);
    assert_eq!(unpack.error(), "layer exceeds the limit of 10 bytes in the names of directories");
    options.limits.owners = 2;
    let owned = |n: u32| file(format!("{n}"), "").owner(n.into(), 0);
    let unpack = Unpack::with(&tar((0..2).map(owned))[..], &options);
    unpack.result.as_ref().unwrap();
    let unpack = Unpack::with(&tar((0..3).map(owned))[..], &options);
    assert_eq!(unpack.error(), "layer exceeds the limit of 2 owners");
}

#[test]
fn too_many_bytes() {
    let bytes = tar([file("f", vec![1; 100_000])]);
    let packed = zstd::encode_all(&bytes[..], 1).unwrap();
    let mut options = UnpackOptions::default();
    for input in [&bytes, &packed] {
        options.limits.unpacked = bytes.len() as u64;
        Unpack::with(&input[..], &options).result.as_ref().unwrap();
        options.limits.unpacked -= 1;
        let error = Unpack::with(&input[..], &options).error();
        assert_eq!(error, format!("layer exceeds the limit of {} bytes", bytes.len() - 1));
    }
    options.limits.expansion.free = 50_000;
    Unpack::with(&bytes[..], &options).error();
    options.limits.unpacked = 1 << 20;
    Unpack::with(&bytes[..], &options).result.as_ref().unwrap();
    let error = Unpack::with(&packed[..], &options).error();
    assert!(error.starts_with("compressed data is more than 200 times as large"), "{error}");
}

#[test]
fn inputs_that_end_early_or_are_no_tar() {
    let whole = tar([dir("d"), file("d/f", vec![7; 300_000]), file("d/g", "12345")]);
    let empty = Unpack::of(&b""[..]);
    let info = empty.result.as_ref().unwrap();
    assert_eq!(
        info.diff_id.hex(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(empty.rebuild().0, b"");
    for len in [1, 511, 513, 1023, 1025, 100_000, whole.len() - 1024 - 512 + 4, whole.len() - 600] {
        assert_eq!(Unpack::of(&whole[..len]).error(), "unexpected EOF", "{len}");
    }
    // As for Go: between entries, or instead of padding, the stream may end.
    for len in [512, whole.len() - 1024, whole.len() - 1024 - 512 + 5, whole.len() - 512] {
        let unpack = Unpack::of(&whole[..len]);
        unpack.result.as_ref().unwrap();
        assert!(unpack.rebuild().0 == whole[..len], "{len}");
    }
    let garbage = Unpack::of(&[b'x'; 4096][..]).error();
    assert_eq!(garbage, "invalid tar at byte 0: number out of range in header");
    let half = zstd::encode_all(&whole[..], 1).unwrap();
    assert_eq!(Unpack::of(&half[..half.len() - 5]).error(), "unexpected EOF");
}

#[test]
fn what_follows_the_end_is_kept() {
    let mut bytes = tar([file("f", "x")]);
    bytes.extend((0..3_000_001u32).map(|n| n.to_le_bytes()[1]));
    let unpack = Unpack::of(&bytes[..]);
    assert_eq!(unpack.result.as_ref().unwrap().diff_size, bytes.len() as u64);
    assert!(unpack.rebuild().0 == bytes);
}

#[test]
fn errors_and_cancellation_of_the_input_surface() {
    /// Ends with an error instead of the rest.
    struct Broken<'a>(&'a [u8], Cancel);
    impl Read for Broken<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && self.1.is_canceled() {
                return Err(io::ErrorKind::ConnectionReset.into());
            } else if self.0.is_empty() {
                self.1.cancel();
                return Ok(1);
            }
            self.0.read(buf)
        }
    }
    let whole = tar([file("f", vec![1; 2_000_000])]);
    for compressed in [false, true] {
        let bytes =
            if compressed { zstd::encode_all(&whole[..], 1).unwrap() } else { whole.clone() };
        let cut = &bytes[..bytes.len() / 2];
        let broken = Cancel::new();
        broken.cancel();
        let unpack = Unpack::of(Broken(cut, broken));
        assert_eq!(unpack.error(), "reading layer: connection reset");
        let cancel = Cancel::new();
        let unpack = Unpack::canceled_by(Broken(cut, cancel.clone()), &cancel);
        // Seen at the next read, before the input could say that it is cut.
        assert_eq!(unpack.error(), "operation canceled");
    }
}
