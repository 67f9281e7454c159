//! Too much of what a tar says about its entries.

use crate::builder::{Builder, Item, dir, file, symlink, tar};
use crate::scene::Scene;

const MIB: u64 = 1 << 20;

/// So many headers of one kind, with so many bytes each, before one entry.
fn repeated(kind: u8, times: usize, content: &[u8]) -> Vec<u8> {
    let mut builder = Builder::default();
    for _ in 0..times {
        builder.add(Item::new(kind, "header").content(content));
    }
    builder.add(file("f", ""));
    builder.finish()
}

#[test]
fn a_header_bomb_is_refused() {
    let scene = Scene::new();
    scene.forget_peak();
    let record = b"30 comment=aaaaaaaaaaaaaaaaaa\n";
    for (what, kind, content) in [("PAX", b'x', &record[..]), ("global PAX", b'g', record)] {
        let layer = repeated(kind, 10_000, content);
        scene.refuses(what, &layer, 413, "bytes of extension headers");
    }
    for (what, kind) in [("long names", b'L'), ("long links", b'K')] {
        let layer = repeated(kind, 10_000, b"name\0");
        scene.refuses(what, &layer, 413, "bytes of extension headers");
    }
    scene.assert_peak("header bombs", 64 * MIB);
}

#[test]
fn one_huge_header_is_refused() {
    let scene = Scene::new();
    scene.forget_peak();
    for kind in *b"xgLK" {
        // It says so, and has nothing.
        let claims = Item::new(kind, "header").header(|header| header.set_size(8 << 30));
        let text = "bytes in one extension header";
        scene.refuses(&format!("{kind} claims"), &tar([claims]), 413, text);
        let layer = repeated(kind, 1, &vec![b'a'; (1 << 20) + 1]);
        scene.refuses(&format!("{kind} has"), &layer, 413, text);
    }
    scene.assert_peak("huge headers", 64 * MIB);
}

#[test]
fn pax_records_that_lie_are_refused() {
    let scene = Scene::new();
    for record in [
        "99999999999999999999 path=a\n",
        "18446744073709551615 path=a\n",
        "1000 path=a\n",
        "5 path=a\n",
        "-9 path=a\n",
        "0 path=a\n",
        "9 path=a",
        "8 path\n",
        "4 =\n",
        "11 pa\0th=a\n",
        "\n",
    ] {
        let layer = repeated(b'x', 1, record.as_bytes());
        scene.refuses(&format!("{record:?}"), &layer, 500, "malformed PAX record");
    }
}

#[test]
fn too_many_attributes_of_a_file_are_refused() {
    let scene = Scene::new();
    let many =
        (0..1100).fold(file("f", ""), |item, n| item.pax(&format!("SCHILY.xattr.user.{n}"), "v"));
    scene.refuses("many", &tar([many]), 413, "extended attributes of one entry");
}

#[test]
fn a_name_that_is_too_long_or_too_deep_is_refused() {
    let scene = Scene::new();
    let long = |name: String| tar([file("f", "").pax("path", name)]);
    scene.refuses("long", &long("n".repeat(4097)), 413, "bytes in one name");
    scene.refuses("a component", &long("n".repeat(256)), 500, "File name too long");
    scene.refuses("deep", &long("n/".repeat(300)), 413, "directories in one name");
    let link = tar([symlink("l", "").pax("linkpath", "n".repeat(4097))]);
    scene.refuses("a link", &link, 413, "bytes in one name");
}

#[test]
fn a_tree_that_is_made_too_deep_through_links_is_refused() {
    let scene = Scene::new();
    // Each link leads 30 directories further down.
    let deep = "d/".repeat(30);
    let items = (0..20).flat_map(|n| {
        let below = if n == 0 { deep.clone() } else { format!("l{}/{deep}", n - 1) };
        [dir(&below), symlink(format!("l{n}"), &below[..below.len() - 1])]
    });
    scene.refuses("links", &tar(items), 500, "too many directories below one another");
}

#[test]
fn too_many_entries_are_refused() {
    let scene = Scene::with(&["--entry-limit=1000"]);
    scene.forget_peak();
    let text = "layer exceeds the limit of 1000 entries";
    scene.refuses("files", &tar((0..1100).map(|n| file(format!("{n}"), ""))), 413, text);
    // Eight entries, two hundred directories for each.
    let implied = (0..8).map(|n| file("f", "").pax("path", format!("{n}/{}f", "d/".repeat(200))));
    scene.refuses("implied directories", &tar(implied), 413, text);
    scene.assert_peak("many entries", 64 * MIB);
}

#[test]
fn more_owners_than_there_are_users_are_refused() {
    let scene = Scene::new();
    // Entries of the root cost nothing else.
    let owned = |n: u32| Item::new(b'5', "./").owner(0, n.into());
    let layer = tar((0..65_537).map(owned));
    let answer = scene.server.client().import("", layer);
    scene.assert_refused("owners", &answer, 413, "layer exceeds the limit of 65536 owners");
}
