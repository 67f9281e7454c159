//! Extended attributes and devices that mean something to the kernel or to other tools.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::builder::{Item, dir, file, tar};
use crate::scene::Scene;

/// Names of the extended attributes of a file.
fn names(path: &Path) -> Vec<String> {
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let text = String::from_utf8(list[..length].to_vec()).unwrap();
    let mut names: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    names.retain(|name| name != "security.selinux");
    names.sort();
    names
}

/// An attribute that would make overlayfs or a tool show something else than what is there.
const FORGED: [(&str, &str); 11] = [
    ("trusted.overlay.redirect", "/../../../canary"),
    ("trusted.overlay.opaque", "y"),
    ("trusted.overlay.metacopy", ""),
    ("trusted.overlay.origin", "forged"),
    ("trusted.overlay.overlay.opaque", "y"),
    ("user.overlay.redirect", "/../../../canary"),
    ("user.overlay.opaque", "y"),
    ("user.fuseoverlayfs.origin", "/etc/shadow"),
    ("user.containers.override_stat", "0:0:04755"),
    ("user.containers.rootless_override", "0:0"),
    ("security.selinux", "system_u:object_r:shadow_t:s0"),
];

#[test]
fn attributes_of_overlayfs_and_its_tools_are_not_applied() {
    let scene = Scene::new();
    let forged = |item: Item| {
        FORGED
            .iter()
            .fold(item, |item, (key, value)| item.pax(&format!("SCHILY.xattr.{key}"), value))
    };
    let layer = tar([forged(dir("d")), forged(file("d/f", "content")), forged(file("e", ""))]);
    scene.defuses("forged attributes", &layer, |diff| {
        for name in ["d", "d/f", "e"] {
            assert!(names(&diff.join(name)).is_empty(), "{name}: {:?}", names(&diff.join(name)));
        }
    });
}

#[test]
fn only_the_attributes_that_a_container_may_have_are_applied() {
    let scene = Scene::new();
    // cap_net_raw, version 2, effective.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let item = file("f", "x")
        .pax("SCHILY.xattr.security.capability", capability)
        .pax("SCHILY.xattr.user.mine", "1")
        .pax("SCHILY.xattr.security.selinux", "forged");
    scene.defuses("a capability", &tar([item]), |diff| {
        assert_eq!(names(&diff.join("f")), ["security.capability", "user.mine"]);
    });
}

#[test]
fn an_attribute_that_is_none_is_refused() {
    let scene = Scene::new();
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    for (key, value, text) in [
        (&long[..], 1, "setting extended attribute of \"f\""),
        ("SCHILY.xattr.user.huge", 70_000, "setting extended attribute of \"f\""),
        ("SCHILY.xattr.security.capability", 3, "setting extended attribute of \"f\""),
    ] {
        let layer = tar([file("f", "x").pax(key, "v".repeat(value))]);
        scene.refuses(key, &layer, 500, text);
    }
}

#[test]
fn setuid_bits_and_devices_stay_inside_of_the_layer() {
    let scene = Scene::new();
    let layer = tar([
        file("su", "#!").mode(0o6755).owner(1000, 1000),
        Item::new(b'3', "null").device(1, 3).mode(0o666),
        // What a device 0:0 means to overlayfs, a whiteout means as well.
        Item::new(b'3', "gone").device(0, 0),
        Item::new(b'4', "disk").device(8, 0).mode(0o600),
        Item::new(b'6', "pipe"),
    ]);
    scene.defuses("devices", &layer, |diff| {
        let su = fs::metadata(diff.join("su")).unwrap();
        assert_eq!((su.permissions().mode() & 0o7777, su.uid()), (0o6755, 1000));
        let kind = |name: &str| fs::symlink_metadata(diff.join(name)).unwrap().file_type();
        assert!(kind("null").is_char_device() && kind("disk").is_block_device());
        assert!(kind("pipe").is_fifo());
        // Only root gets there at all.
        let store = fs::metadata(diff.ancestors().nth(2).unwrap()).unwrap();
        assert_eq!((store.uid(), store.mode() & 0o077), (0, 0), "the store's directory");
    });
}
