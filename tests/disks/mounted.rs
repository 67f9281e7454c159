//! File systems on disks of a rack, mounted. Everything is undone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::disk::Blocks;
use crate::rack::{Rack, Slot};
use crate::support::tool::{command, output, run};

const MIB: u64 = 1 << 20;
/// The number that the kernel has for loop devices.
const LOOP_MAJOR: u32 = 7;
/// How often something that is in use is unmounted again, and how soon.
const UNMOUNTING: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    /// With room for a few files only.
    Ext4FewFiles,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4FewFiles => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest disk that its program takes, or a little more.
    fn size_bytes(self) -> u64 {
        match self {
            Self::Ext4 | Self::Ext4FewFiles => 96 * MIB,
            Self::Xfs => 300 * MIB,
            Self::Btrfs => 256 * MIB,
        }
    }

    fn make(self, device: &Path) {
        let options: &[&str] = match self {
            Self::Ext4 => &["-q", "-F"],
            Self::Ext4FewFiles => &["-q", "-F", "-N", "900"],
            Self::Xfs => &["-q", "-f", "-K"],
            Self::Btrfs => &["-q", "-f", "-K"],
        };
        run(command(&format!("mkfs.{}", self.name()), options).arg(device));
    }
}

/// A file system that is mounted.
pub(crate) struct Mounted {
    // In the order in which they are to go.
    mount: Mount,
    _device: Loop,
    slot: Slot,
}

impl Mounted {
    /// A new file system on a new disk.
    pub(crate) fn make(rack: &Rack, kind: FileSystem) -> Self {
        Self::on(rack.insert(kind.size_bytes(), Blocks::default()), kind, true)
    }

    /// The file system on a disk with this content.
    pub(crate) fn open(rack: &Rack, kind: FileSystem, blocks: Blocks) -> Self {
        Self::on(rack.insert(kind.size_bytes(), blocks), kind, false)
    }

    fn on(slot: Slot, kind: FileSystem, make: bool) -> Self {
        let device = Loop::attach(slot.path(), kind);
        if make {
            kind.make(&device.path);
        }
        let mount = Mount::new(&device.path, kind);
        Self { mount, _device: device, slot }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.mount.dir.path()
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }
}

/// A block device made of a file.
struct Loop {
    path: PathBuf,
    kind: FileSystem,
}

impl Loop {
    fn attach(file: &Path, kind: FileSystem) -> Self {
        let attach = || command("losetup", ["--find", "--show"]);
        let first = output(attach().arg(file));
        let path = if first.status.success() {
            String::from_utf8(first.stdout).unwrap().trim_end().to_owned()
        } else {
            // There was none left, and in a container nobody makes the node of one that is added.
            make_nodes();
            run(attach().arg(file))
        };
        Self { path: path.into(), kind }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.kind == FileSystem::Btrfs {
            // It takes a copy of what it has seen before for the same, and older ones for damaged.
            undo(command("btrfs", ["device", "scan", "--forget"]).arg(&self.path));
        }
        undo(command("losetup", ["--detach"]).arg(&self.path));
    }
}

/// Makes the nodes of loop devices that have none.
fn make_nodes() {
    for entry in fs::read_dir("/sys/block").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(Ok(number)) = name.strip_prefix("loop").map(str::parse) else { continue };
        let node = Path::new("/dev").join(&name);
        if !node.exists() {
            let device = makedev(LOOP_MAJOR, number);
            mknodat(CWD, &node, FileType::BlockDevice, Mode::from_raw_mode(0o600), device).unwrap();
        }
    }
}

fn undo(command: &mut std::process::Command) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        failed => eprintln!("{command:?}: {failed:?}"),
    }
}

struct Mount {
    dir: TempDir,
}

impl Mount {
    fn new(device: &Path, kind: FileSystem) -> Self {
        let dir = tempfile::Builder::new().prefix("imaged-mounted-").tempdir().unwrap();
        mount(device, dir.path(), kind.name(), MountFlags::empty(), None)
            .unwrap_or_else(|error| panic!("mounting {kind:?}: {error}"));
        Self { dir }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that has just ended may not have given up everything yet. What stays mounted is in the
        // way of the next mount of the same file system.
        let mut unmounted = Ok(());
        for _ in 0..UNMOUNTING {
            unmounted = unmount(self.dir.path(), UnmountFlags::empty());
            match unmounted {
                Err(rustix::io::Errno::BUSY) => thread::sleep(PAUSE),
                _ => break,
            }
        }
        if let Err(error) = unmounted {
            eprintln!("unmounting {}: {error}", self.dir.path().display());
            let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
        }
    }
}
