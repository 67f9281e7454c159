//! Taking from a thread what it does not need: Landlock.
//!
//! What is taken cannot be got back, and threads that a thread starts have no more than it has. So
//! only threads that end with their work are confined, never those of a pool that others use too.

use std::io;
use std::os::fd::AsFd;
use std::sync::LazyLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

/// The first that lets files be linked from one directory to another (Linux 5.19). With an older one
/// hard links could not be made at all.
const NEEDED: ABI = ABI::V2;

/// The last that is asked for; of what a kernel does not know the rest is used (Linux 6.12).
const KNOWN: ABI = ABI::V6;

/// What it takes to make a tree: everything but to read files, to run them, and to make sockets.
const MAKING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadDir | WriteFile | Truncate | Refer
    | MakeReg | MakeDir | MakeSym | MakeFifo | MakeChar | MakeBlock
    | RemoveFile | RemoveDir
});

/// Whether the kernel can confine threads. Asked once.
pub fn is_supported() -> bool {
    static SUPPORTED: LazyLock<bool> = LazyLock::new(|| needed().and_then(Ruleset::create).is_ok());
    *SUPPORTED
}

/// Rules about what must be ruled by them.
fn needed() -> Result<Ruleset, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))
}

/// Lets the calling thread, and those that it will start, open and change nothing but what is below
/// `root`, connect to nobody, and signal nobody outside. Files that are open stay usable. Does
/// nothing where the kernel [cannot](is_supported).
///
/// # Errors
/// If the kernel can, but did not.
pub fn to_tree(root: impl AsFd) -> io::Result<()> {
    confine(|nothing| nothing.add_rule(PathBeneath::new(root, MAKING)))
}

/// As [`to_tree`], without a tree: what is open can be read and written, and no more than that.
///
/// # Errors
/// As [`to_tree`].
pub fn to_nothing() -> io::Result<()> {
    confine(Ok)
}

/// Takes from the calling thread all but what `allow` adds to nothing.
fn confine(
    allow: impl FnOnce(RulesetCreated) -> Result<RulesetCreated, RulesetError>,
) -> io::Result<()> {
    if !is_supported() {
        return Ok(());
    }
    let nothing = || -> Result<RulesetCreated, RulesetError> {
        needed()?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()
    };
    let restricted = nothing().and_then(allow).and_then(RulesetCreated::restrict_self);
    restricted.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::thread;

    use rustix::fs::{AtFlags, FileType, Mode, OFlags};
    use rustix::io::Errno;

    use super::*;
    use crate::sys::tree;

    #[test]
    fn a_confined_thread_makes_trees_and_reaches_nothing_else() {
        assert!(is_supported(), "these tests need a kernel with Landlock");
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("outside/file"), "secret").unwrap();
        let open = |name: &str| OwnedFd::from(File::open(dir.path().join(name)).unwrap());
        let (root, outside) = (open("root"), open("outside"));
        let confined = thread::spawn({
            let path = dir.path().to_owned();
            move || {
                to_tree(&root).unwrap();
                // Everything that a layer can ask for.
                rustix::fs::mkdirat(&root, "d", Mode::RWXU).unwrap();
                let below = tree::open_dir(&root, b"d").unwrap();
                let file = tree::create_file(&below, b"f").unwrap();
                rustix::io::write(&file, b"content").unwrap();
                rustix::fs::ftruncate(&file, 3).unwrap();
                rustix::fs::linkat(&below, "f", &root, "g", AtFlags::empty()).unwrap();
                rustix::fs::symlinkat("/", &root, "l").unwrap();
                rustix::fs::mknodat(&root, "p", FileType::Fifo, Mode::RUSR, 0).unwrap();
                tree::remove_all(&root, b"d").unwrap();
                // And everything that it must not, even with a descriptor from before.
                let read = OFlags::RDONLY;
                let denied = [
                    rustix::fs::openat(&outside, "file", read, Mode::empty()).map(drop),
                    rustix::fs::openat(&root, "../outside/file", read, Mode::empty()).map(drop),
                    rustix::fs::openat(&root, "l/etc/passwd", read, Mode::empty()).map(drop),
                    rustix::fs::openat(&root, "g", read, Mode::empty()).map(drop),
                    rustix::fs::open(&path, read | OFlags::DIRECTORY, Mode::empty()).map(drop),
                    rustix::fs::open("/proc/self/maps", read, Mode::empty()).map(drop),
                    rustix::fs::mkdirat(&outside, "new", Mode::RWXU),
                    rustix::fs::symlinkat("x", &outside, "new"),
                    rustix::fs::unlinkat(&outside, "file", AtFlags::empty()),
                ];
                assert_eq!(denied, [Err(Errno::ACCESS); 9]);
                let linked = rustix::fs::linkat(&outside, "file", &root, "h", AtFlags::empty());
                assert!(matches!(linked, Err(Errno::ACCESS | Errno::XDEV)), "{linked:?}");
                // Nor can a thread that this one starts.
                let heir = thread::spawn(move || fs::read("/etc/passwd").map(drop));
                let error = heir.join().unwrap().unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert!(std::net::TcpStream::connect("127.0.0.1:1").is_err());
            }
        });
        confined.join().unwrap();
        let (mut open, write) = io::pipe().unwrap();
        let confined = thread::spawn({
            let path = dir.path().to_owned();
            move || {
                to_nothing().unwrap();
                for error in [
                    fs::read(path.join("outside/file")).map(drop).unwrap_err(),
                    fs::read_dir(path.join("root")).map(drop).unwrap_err(),
                    fs::write(path.join("root/new"), "").unwrap_err(),
                    fs::create_dir(path.join("root/new")).unwrap_err(),
                    fs::read("/proc/self/maps").map(drop).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                }
                (&write).write_all(b"open").unwrap();
            }
        });
        confined.join().unwrap();
        assert_eq!(io::read_to_string(&mut open).unwrap(), "open");
        // Others are as free as before.
        fs::read(dir.path().join("outside/file")).unwrap();
    }
}
