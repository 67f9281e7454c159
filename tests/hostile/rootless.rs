//! The same for a user who is not root, whose daemon has a user namespace.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::builder::{Item, dir, file, tar};
use crate::canary::Canary;
use crate::support::Client;
use crate::support::server::PATIENCE;

/// A user that no user database knows.
const UID: u32 = 54_322;
/// The first subordinate ID.
const FIRST: u32 = 300_000;

/// The daemon of a user with a range of a thousand subordinate IDs.
struct User {
    dir: TempDir,
    daemon: Child,
    canary: Canary,
}

impl User {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_imaged"), path("imaged")).unwrap();
        for name in ["home", "runtime"] {
            fs::create_dir(path(name)).unwrap();
            chown(path(name), Some(UID), Some(UID)).unwrap();
        }
        // Even where the user could write.
        let canary = Canary::owned(path("home/canary"), UID);
        fs::write(path("ranges"), format!("{UID}:{FIRST}:1000\n")).unwrap();
        let users = fs::read_to_string("/etc/passwd").unwrap();
        fs::write(path("users"), format!("{users}someone:x:{UID}:{UID}::/:/bin/sh\n")).unwrap();
        let script = format!(
            "mount --bind {0}/ranges /etc/subuid && mount --bind {0}/ranges /etc/subgid && \
             mount --bind {0}/users /etc/passwd && \
             exec setpriv --reuid {UID} --regid {UID} --clear-groups {0}/imaged serve",
            dir.path().display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).env_clear().current_dir("/");
        command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", path("home"));
        command.env("XDG_RUNTIME_DIR", path("runtime")).stdin(Stdio::null());
        let daemon = command.spawn().unwrap();
        let mut user = Self { dir, daemon, canary };
        let start = Instant::now();
        while user.client().try_get("/_ping").is_err() {
            assert!(user.daemon.try_wait().unwrap().is_none(), "the daemon ended");
            assert!(start.elapsed() < PATIENCE, "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        user
    }

    fn client(&self) -> Client {
        Client::new(&self.dir.path().join("runtime/imaged/imaged.sock"))
    }

    /// The directory of the only layer.
    fn layer(&self) -> PathBuf {
        let overlay = self.dir.path().join("home/.local/share/containers/storage/overlay");
        let mut layers = fs::read_dir(overlay)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().len() == 64);
        let layer = layers.next().unwrap();
        assert!(layers.next().is_none());
        layer.join("diff")
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn a_user_gets_neither_devices_nor_files_of_root() {
    let user = User::new();
    let forged = "SCHILY.xattr.trusted.overlay.opaque";
    let layer = tar([
        file("su", "#!").mode(0o6755),
        file("other", "#!").mode(0o4755).owner(7, 8),
        Item::new(b'3', "null").device(1, 3).mode(0o666),
        Item::new(b'4', "disk").device(8, 0).mode(0o666),
        Item::new(b'6', "pipe"),
        dir("opaque").pax(forged, "y").pax("SCHILY.xattr.trusted.mine", "1"),
        file("claimed", "").pax("SCHILY.xattr.user.containers.override_stat", "0:0:04755"),
    ]);
    user.client().import("", layer).expect(200);
    let diff = user.layer();
    // What is set there is set for whom the namespace takes for root.
    for (name, mode, uid) in [("su", 0o6755, UID), ("other", 0o4755, FIRST + 6)] {
        let it = fs::metadata(diff.join(name)).unwrap();
        assert_eq!((it.permissions().mode() & 0o7777, it.uid()), (mode, uid), "{name}");
    }
    for name in ["null", "disk"] {
        assert!(fs::symlink_metadata(diff.join(name)).is_err(), "{name}");
    }
    for name in ["opaque", "claimed"] {
        let mut names = [0; 4096];
        let length = rustix::fs::llistxattr(diff.join(name), &mut names[..]).unwrap();
        assert_eq!(names[..length].escape_ascii().to_string(), "", "{name}");
    }
    user.canary.assert_untouched();
}

#[test]
fn owners_that_the_user_does_not_have_are_refused() {
    let user = User::new();
    for (uid, gid) in [(1001, 0), (0, 1001), (65_534, 65_534), (4_294_967_294_u32, 0)] {
        let answer = user.client().import(
            "",
            tar([file("f", "")
                .owner(0, 0)
                .pax("uid", uid.to_string())
                .pax("gid", gid.to_string())]),
        );
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(
            answer.text().contains("is not mapped into this user namespace"),
            "{}",
            answer.text()
        );
    }
    let images = user.client().get("/images/json").expect(200).json();
    assert_eq!(images.as_array().unwrap().len(), 0);
    user.canary.assert_untouched();
}

#[test]
fn a_user_does_not_reach_own_files_outside_of_the_store() {
    let user = User::new();
    let link = || Item::new(b'2', "l").pax("linkpath", user.canary.path(""));
    let secret = user.canary.path("secret");
    for layer in [
        tar([link(), file("l/secret", "overwritten")]),
        tar([link(), file("l/.wh.secret", "")]),
        tar([link(), file("l/.wh..wh..opq", "")]),
        tar([link(), Item::new(b'1', "h").link("l/secret")]),
        tar([Item::new(b'1', "h").pax("linkpath", &secret)]),
        tar([file("f", "").pax("path", format!("../../../../../../../..{secret}"))]),
    ] {
        let answer = user.client().import("", layer);
        assert_eq!(answer.status, 500, "{}", answer.text());
        user.canary.assert_untouched();
    }
}
