//! Fresh ext4 file systems on loop devices, whose writes the kernel counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::store::unmount_below;
use crate::support::tool::{command, run};

/// A mounted file system, unmounted and deleted when dropped; its loop device goes with it.
pub(crate) struct Disk {
    dir: TempDir,
    mount: PathBuf,
}

impl Disk {
    /// An empty file system of `size` bytes in a sparse file below `parent`. Short names: Podman
    /// takes no run root of more than 50 bytes.
    pub(crate) fn new(parent: &Path, size: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("disk-").tempdir_in(parent).unwrap();
        let (file, mount) = (dir.path().join("disk"), dir.path().join("m"));
        fs::create_dir(&mount).unwrap();
        File::create(&file).unwrap().set_len(size).unwrap();
        run(command("mkfs.ext4", ["-q", "-E", "lazy_itable_init=1"]).arg(&file));
        // Past the page cache of the file system below: content is cached and written back once, as on
        // a disk that is not a file.
        let attach = ["--find", "--show", "--direct-io=on"];
        let device = run(command("losetup", attach).arg(&file));
        // Without the kernel's own late initialisation, every write is the workload's.
        run(command("mount", ["-o", "noinit_itable"]).args([Path::new(&device), &mount]));
        // From now on the device goes with the mount.
        run(command("losetup", ["--detach"]).arg(&device));
        let disk = Self { dir, mount };
        disk.sync();
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Writes everything back.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.mount).unwrap()).unwrap();
    }

    /// Bytes written to the device since it exists.
    pub(crate) fn written(&self) -> u64 {
        let source = run(command("findmnt", ["-n", "-o", "SOURCE"]).arg(&self.mount));
        let name = Path::new(&source).file_name().unwrap().to_owned();
        let stat = fs::read_to_string(Path::new("/sys/block").join(name).join("stat")).unwrap();
        let sectors: u64 = stat.split_whitespace().nth(6).unwrap().parse().unwrap();
        sectors * 512
    }

    /// Bytes in use, in whole blocks.
    pub(crate) fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mount).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}
