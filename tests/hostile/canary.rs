//! A tree that nobody has any business with.

use std::fs::{self, Permissions};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::support::tree;

/// What the secret file holds, to be looked for where it must not be.
pub(crate) const SECRET: &str = "nobody reads this";

/// All of the tree.
const NAMES: [&str; 5] = ["", "directory", "directory/inner", "link", "secret"];

/// The tree, and what watches it.
pub(crate) struct Canary {
    root: PathBuf,
    events: OwnedFd,
    before: Vec<String>,
}

impl Canary {
    /// A tree of root's at `root`: a file, a directory with another, and a link.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self::owned(root, 0)
    }

    /// The same of another user's.
    pub(crate) fn owned(root: PathBuf, uid: u32) -> Self {
        fs::create_dir_all(root.join("directory")).unwrap();
        for name in ["secret", "directory/inner"] {
            fs::write(root.join(name), SECRET).unwrap();
            fs::set_permissions(root.join(name), Permissions::from_mode(0o640)).unwrap();
        }
        symlink("secret", root.join("link")).unwrap();
        for name in NAMES {
            lchown(root.join(name), Some(uid), Some(uid)).unwrap();
        }
        let before = facts(&root);
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        // Who closes a file has opened it; or was forked meanwhile from the process of the tests.
        let closed = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let seen = WatchFlags::ALL_EVENTS - closed;
        for name in ["", "directory", "secret", "directory/inner"] {
            inotify::add_watch(&events, root.join(name), seen).unwrap();
        }
        Self { root, events, before }
    }

    /// One of its paths, absolute.
    pub(crate) fn path(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// Panics if anybody has opened, read or changed anything in it.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        let events = self.events();
        assert!(events.is_empty(), "the canary was touched: {events:?}");
        assert_eq!(facts(&self.root), self.before, "the canary was changed");
        // Those of comparing.
        self.events();
    }

    fn events(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => events.push(format!("{:?} {:?}", event.events(), event.file_name())),
                Err(Errno::AGAIN) => return events,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Everything that is known of the tree, but the times of access: those the events tell.
fn facts(root: &Path) -> Vec<String> {
    let known: Vec<String> = NAMES.map(|name| name.to_owned()).into();
    let more = NAMES.map(|name| {
        let it = fs::symlink_metadata(root.join(name)).unwrap();
        format!("{name}: {} {} {}.{}", it.ino(), it.nlink(), it.ctime(), it.ctime_nsec())
    });
    let listed = tree::list(root);
    assert_eq!(listed.keys().cloned().collect::<Vec<_>>(), known);
    more.into_iter().zip(listed).map(|(more, (_, line))| format!("{more} {line}")).collect()
}
