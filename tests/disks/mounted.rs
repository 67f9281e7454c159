//! File systems on disks of a rack, mounted. Everything is undone when dropped.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::disk::Blocks;
use crate::rack::{Rack, Slot};
use crate::support::tool::{command, run};

const MIB: u64 = 1 << 20;

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
        let path = run(command("losetup", ["--find", "--show"]).arg(file));
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
        if let Err(error) = unmount(self.dir.path(), UnmountFlags::empty()) {
            eprintln!("unmounting {}: {error}", self.dir.path().display());
            let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
        }
    }
}
