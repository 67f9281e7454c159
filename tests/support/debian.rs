//! The real image of the suites: a Debian tree of more than 100 MB with layers on top that hold
//! whatever layers can hold, built by debootstrap and Buildah, saved by Podman and Skopeo.
//!
//! Making it takes a minute, so archives and facts are kept below the target directory. What is
//! kept is complete or absent: it is moved there by one rename.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use serde::{Deserialize, Serialize};

use super::archive::Numbers;
use super::tool::{command, run};
use super::tree::{self, Tree};
use super::{Store, store};

/// Part of the directory's name: raise it when the image changes.
const VERSION: u32 = 2;
/// The one-layer image.
pub(crate) const BASE: &str = "localhost/debian:base";
/// The image with every oddity.
pub(crate) const FULL: &str = "localhost/debian:full";
/// The same layers with a docker manifest and a docker config, so another ID.
pub(crate) const DOCKER: &str = "localhost/debian:docker";

/// What is known of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Image ID in hex.
    pub(crate) id: String,
    /// Diff IDs, base first.
    pub(crate) diff_ids: Vec<String>,
}

/// The image's archives, and what is in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Debian {
    dir: PathBuf,
    /// Facts of [`BASE`].
    pub(crate) base: Facts,
    /// Facts of [`FULL`].
    pub(crate) full: Facts,
    /// Facts of [`DOCKER`].
    pub(crate) docker: Facts,
    /// [`FULL`] as Podman mounts it.
    pub(crate) tree: Tree,
}

impl Debian {
    /// The image, made now if no earlier run has.
    pub(crate) fn get() -> &'static Self {
        static MADE: OnceLock<Debian> = OnceLock::new();
        MADE.get_or_init(|| {
            let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let dir = parent.join(format!("debian-image-{VERSION}"));
            if !dir.exists() {
                let draft = tempfile::Builder::new().prefix("draft-").tempdir_in(parent).unwrap();
                make(draft.path(), &dir);
                // Another process may have been quicker; its image is as good.
                if let Err(error) = fs::rename(draft.path(), &dir) {
                    assert!(dir.exists(), "{}: {error}", dir.display());
                }
            }
            serde_json::from_slice(&fs::read(dir.join("facts.json")).unwrap()).unwrap()
        })
    }

    /// `podman save`, docker archive of [`FULL`].
    pub(crate) fn docker_archive(&self) -> PathBuf {
        self.dir.join("podman-docker.tar")
    }

    /// `podman save --format oci-archive` of [`FULL`]: gzip layers.
    pub(crate) fn oci_archive(&self) -> PathBuf {
        self.dir.join("podman-oci.tar")
    }

    /// `podman save -m` of [`BASE`] and [`FULL`].
    pub(crate) fn multi_archive(&self) -> PathBuf {
        self.dir.join("podman-multi.tar")
    }

    /// `skopeo copy` to an OCI archive with zstd layers.
    pub(crate) fn zstd_archive(&self) -> PathBuf {
        self.dir.join("skopeo-zstd.tar")
    }

    /// `skopeo copy` to an OCI archive with uncompressed layers.
    pub(crate) fn plain_archive(&self) -> PathBuf {
        self.dir.join("skopeo-plain.tar")
    }

    /// `skopeo copy` of [`DOCKER`] to a docker archive.
    pub(crate) fn skopeo_archive(&self) -> PathBuf {
        self.dir.join("skopeo-docker.tar")
    }
}

/// Builds the image in a store of its own and writes archives and facts to `draft`. `dir` is
/// where they will be.
fn make(draft: &Path, dir: &Path) {
    let store = Store::new();
    let rootfs = store.path("rootfs");
    run(command("debootstrap", ["--variant=minbase", "bookworm"]).arg(&rootfs).arg(mirror()));
    for cache in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        fs::remove_dir_all(rootfs.join(cache)).unwrap();
    }
    layer(&store, "scratch", BASE, |root| {
        run(command("cp", ["-a", "."]).arg(root).current_dir(&rootfs));
    });
    layer(&store, BASE, "localhost/debian:odd", add_oddities);
    layer(&store, "localhost/debian:odd", "localhost/debian:less", delete_and_replace);
    layer(&store, "localhost/debian:less", "localhost/debian:again", delete_and_restore);
    configure(&store, "oci", FULL);
    configure(&store, "docker", DOCKER);
    let (full, docker) = (store.reference(FULL), store.reference(DOCKER));

    let path = |name: &str| draft.join(name).display().to_string();
    store.podman(["save", "--output", &path("podman-docker.tar"), FULL]);
    let output = path("podman-oci.tar");
    store.podman(["save", "--format", "oci-archive", "--output", &output, FULL]);
    let output = path("podman-multi.tar");
    store.podman(["save", "--multi-image-archive", "--output", &output, BASE, FULL]);
    let target = format!("oci-archive:{}:{FULL}", path("skopeo-zstd.tar"));
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
    store.skopeo(["copy", zstd[0], zstd[1], zstd[2], &full, &target]);
    let target = format!("oci-archive:{}:{FULL}", path("skopeo-plain.tar"));
    store.skopeo(["copy", "--dest-oci-accept-uncompressed-layers", &full, &target]);
    let target = format!("docker-archive:{}:{DOCKER}", path("skopeo-docker.tar"));
    store.skopeo(["copy", &docker, &target]);

    let mounted = store.podman(["image", "mount", FULL]);
    let image = Debian {
        dir: dir.to_owned(),
        base: facts(&store, BASE),
        full: facts(&store, FULL),
        docker: facts(&store, DOCKER),
        tree: tree::list(Path::new(&mounted)),
    };
    assert!(image.full.diff_ids.len() >= 4, "{:?}", image.full);
    store.podman(["image", "unmount", "--all"]);
    fs::write(draft.join("facts.json"), serde_json::to_vec(&image).unwrap()).unwrap();
}

/// The Debian mirror: `DEBIAN_MIRROR`, or the common one.
fn mirror() -> String {
    std::env::var("DEBIAN_MIRROR").unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned())
}

fn facts(store: &Store, name: &str) -> Facts {
    let inspect = store.inspect(name);
    Facts {
        id: inspect["Id"].as_str().unwrap().to_owned(),
        diff_ids: store::strings(&inspect["RootFS"]["Layers"]),
    }
}

/// Commits the image `name`: one layer, made by `change`, above the image `from`.
pub(crate) fn layer(store: &Store, from: &str, name: &str, change: impl FnOnce(&Path)) {
    let container = store.buildah(["from", from]);
    let root = store.buildah(["mount", &container]);
    change(Path::new(&root));
    store.buildah(["commit", "--quiet", &container, name]);
    store.buildah(["rm", &container]);
}

/// Commits the image `name`: the fourth layer's with settings of every kind.
fn configure(store: &Store, format: &str, name: &str) {
    let container = store.buildah(["from", "localhost/debian:again"]);
    for (option, value) in [
        ("--cmd", "/bin/sh -c true"),
        ("--env", "LANG=C.UTF-8"),
        ("--label", "org.example.purpose=interop <&>"),
        ("--workingdir", "/srv"),
        ("--user", "1000:1001"),
        ("--port", "8080/tcp"),
        ("--author", "Jürgen Prüfer"),
    ] {
        store.buildah(["config", option, value, &container]);
    }
    store.buildah(["commit", "--quiet", "--format", format, &container, name]);
    store.buildah(["rm", &container]);
}

/// The second layer: every kind of entry and name.
pub(crate) fn add_oddities(root: &Path) {
    let odd = root.join("srv/odd");
    let gone = root.join("srv/gone");
    for dir in ["hard/sub", "other", "sticky", "setgid", "becomes-link/inside", "attributes"] {
        fs::create_dir_all(odd.join(dir)).unwrap();
    }
    write(&odd.join("setuid"), b"#!/bin/sh\n", 0o4755, (1000, 1001));
    write(&odd.join("secret"), b"nobody may read this", 0o000, (0, 0));
    write(&odd.join("empty"), b"", 0o644, (0, 0));
    write(&odd.join("far-owner"), b"x", 0o640, (70_000, 2_097_153));
    write(&odd.join("capable"), b"\x7fELF", 0o755, (0, 0));
    run(command("setcap", ["cap_net_raw,cap_net_bind_service+ep"]).arg(odd.join("capable")));
    fs::set_permissions(odd.join("sticky"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(odd.join("setgid"), Permissions::from_mode(0o2750)).unwrap();

    write(&odd.join("hard/a"), b"one inode, three names", 0o644, (5, 6));
    fs::hard_link(odd.join("hard/a"), odd.join("hard/sub/b")).unwrap();
    fs::hard_link(odd.join("hard/a"), odd.join("other/c")).unwrap();

    let attributes = odd.join("attributes");
    write(&attributes.join("file"), b"noted", 0o644, (0, 0));
    set_xattr(&attributes.join("file"), "user.note", b"text");
    set_xattr(&attributes.join("file"), "user.binary", b"\x00\xff=\n");
    set_xattr(&attributes, "user.colour", b"blue");

    mknodat(CWD, odd.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let null = makedev(1, 3);
    mknodat(CWD, odd.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null)
        .unwrap();

    let mut names: Vec<Vec<u8>> = vec![
        vec![b'n'; 180],
        b"caf\xe9.txt".to_vec(),
        b"dir\xff\xfe/inner \x80".to_vec(),
        "ünïcode ☃".as_bytes().to_vec(),
        b"a space, a \\ and a\nnewline".to_vec(),
        b"-rf".to_vec(),
    ];
    names.push("directory-of-a-deep-path/".repeat(30).into_bytes());
    for name in names {
        let path = odd.join("names").join(OsStr::from_bytes(name.trim_ascii_end()));
        if name.ends_with(b"/") {
            fs::create_dir_all(&path).unwrap();
            write(&path.join("leaf"), b"deep", 0o644, (0, 0));
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, &name, 0o644, (0, 0));
        }
    }

    for (name, target) in [
        ("absolute", &b"/etc/passwd"[..]),
        ("relative", b"../odd/hard/a"),
        ("dangling", b"no/such/thing"),
        ("upwards", b"../../../../../../etc"),
        ("odd-target", b"names/caf\xe9.txt"),
        ("becomes-file", b"/usr"),
    ] {
        symlink(OsStr::from_bytes(target), odd.join(name)).unwrap();
    }
    let sparse = File::create(odd.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 5 << 20).unwrap();
    let mut noise = vec![0; 3 << 20];
    Numbers::new(1).fill(&mut noise);
    write(&odd.join("noise"), &noise, 0o644, (0, 0));
    write(&odd.join("becomes-dir"), b"a file", 0o644, (0, 0));
    write(&odd.join("becomes-link/inside/file"), b"x", 0o644, (0, 0));
    write(&odd.join("old"), b"from 1970", 0o644, (0, 0));
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let times = FileTimes::new().set_modified(second).set_accessed(second);
    File::open(odd.join("old")).unwrap().set_times(times).unwrap();

    for name in ["1/a", "1/b", "2/a", "3/a/b/c"] {
        let path = gone.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, name.as_bytes(), 0o644, (0, 0));
    }
}

/// The third layer: whiteouts, opaque directories, changes of type, changed metadata.
pub(crate) fn delete_and_replace(root: &Path) {
    let odd = root.join("srv/odd");
    fs::remove_file(root.join("etc/issue")).unwrap();
    let docs = root.join("usr/share/doc");
    fs::remove_dir_all(&docs).unwrap();
    fs::create_dir_all(docs.join("new")).unwrap();
    write(&docs.join("README"), b"all the others are gone", 0o644, (0, 0));
    write(&docs.join("new/page"), b"1", 0o644, (0, 0));
    for name in ["1", "2", "3/a/b/c"] {
        let path = root.join("srv/gone").join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_file(odd.join("becomes-dir")).unwrap();
    fs::create_dir(odd.join("becomes-dir")).unwrap();
    write(&odd.join("becomes-dir/file"), b"now inside", 0o600, (0, 0));
    fs::remove_dir_all(odd.join("becomes-link")).unwrap();
    symlink("hard", odd.join("becomes-link")).unwrap();
    fs::remove_file(odd.join("becomes-file")).unwrap();
    write(&odd.join("becomes-file"), b"was a link", 0o644, (0, 0));
    fs::remove_file(odd.join("hard/a")).unwrap();
    fs::rename(odd.join("noise"), odd.join("moved-noise")).unwrap();
    fs::set_permissions(root.join("etc/passwd"), Permissions::from_mode(0o600)).unwrap();
    lchown(root.join("etc/shadow"), Some(1), Some(2)).unwrap();
    set_xattr(&odd.join("attributes"), "user.colour", b"red");
}

/// The fourth layer: deleted names come back, and deletions in what the third one made.
pub(crate) fn delete_and_restore(root: &Path) {
    write(&root.join("srv/gone/1"), b"a file now", 0o644, (0, 0));
    fs::create_dir(root.join("srv/gone/2")).unwrap();
    write(&root.join("srv/gone/2/z"), b"another", 0o644, (0, 0));
    let docs = root.join("usr/share/doc");
    fs::remove_file(docs.join("README")).unwrap();
    fs::remove_dir_all(docs.join("new")).unwrap();
    fs::create_dir(docs.join("new")).unwrap();
    let mut passwd = fs::read(root.join("etc/passwd")).unwrap();
    passwd.extend_from_slice(b"guest:x:1000:1001::/:/bin/sh\n");
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    write(&root.join("etc/issue"), b"back again", 0o644, (0, 0));
}

fn write(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) {
    fs::write(path, content).unwrap();
    lchown(path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}
