//! A file system whose disk is memory, and which nobody else uses.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use tempfile::TempDir;

use crate::support::store::unmount_below;
use crate::support::tool::{command, run};

/// Mounted ext4, unmounted when dropped.
pub(crate) struct MemoryDisk {
    mounted: TempDir,
    /// The disk is a file in here. It takes memory as it is written.
    _file: TempDir,
}

impl MemoryDisk {
    /// A disk of so many bytes.
    pub(crate) fn new(size: u64) -> Self {
        let directory = |parent: &Path| {
            tempfile::Builder::new().prefix("imaged-disk-").tempdir_in(parent).unwrap()
        };
        let (file, mounted) = (directory(Path::new("/dev/shm")), directory(&std::env::temp_dir()));
        let disk: PathBuf = file.path().join("disk");
        File::create_new(&disk).unwrap().set_len(size).unwrap();
        // Everything is made now, and nothing later while somebody measures.
        let options = ["-q", "-N", "200000", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(command("mkfs.ext4", options).arg(&disk));
        run(command("mount", ["-o", "loop"]).arg(&disk).arg(mounted.path()));
        // The kernel begins to write back at once to a device of which it does not know how fast it
        // is. To others it leaves time. What all devices have may not come to 100.
        let device = fs::metadata(mounted.path()).unwrap().dev();
        let limits = format!("/sys/class/bdi/{}:{}", major(device), minor(device));
        fs::write(format!("{limits}/min_ratio"), "30").unwrap();
        Self { mounted, _file: file }
    }

    /// Its root directory.
    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        unmount_below(self.mounted.path());
    }
}
