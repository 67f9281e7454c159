//! Disks as files of a FUSE file system, so that the kernel can make block devices of them: its
//! flushes arrive here as they would at a disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite,
    Request, WriteFlags,
};
use tempfile::TempDir;

use crate::disk::{BLOCK, Blocks, Disk};

/// Nothing changes behind the kernel's back.
const VALID: Duration = Duration::from_secs(3600);
/// Inode number of the first disk.
const FIRST: u64 = 2;

type Disks = Arc<Mutex<BTreeMap<u64, Arc<Mutex<Disk>>>>>;

/// A directory with disks. Drop it after everything that uses them.
pub(crate) struct Rack {
    disks: Disks,
    next: AtomicU64,
    // Unmounted before the directory is removed.
    _session: BackgroundSession,
    dir: TempDir,
}

/// A disk in a rack, taken out when dropped.
pub(crate) struct Slot {
    number: u64,
    disk: Arc<Mutex<Disk>>,
    disks: Disks,
    path: PathBuf,
}

impl Rack {
    /// An empty rack.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("imaged-disks-").tempdir().unwrap();
        let disks = Disks::default();
        let served = Served { disks: Arc::clone(&disks) };
        let session = fuser::spawn_mount(served, dir.path(), &Config::default())
            .unwrap_or_else(|error| panic!("/dev/fuse must be usable: {error}"));
        Self { disks, next: AtomicU64::new(FIRST), _session: session, dir }
    }

    /// Puts a disk in.
    pub(crate) fn insert(&self, size_bytes: u64, blocks: Blocks) -> Slot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let disk = Arc::new(Mutex::new(Disk::new(size_bytes, blocks)));
        self.disks.lock().unwrap().insert(number, Arc::clone(&disk));
        let path = self.dir.path().join(number.to_string());
        Slot { number, disk, disks: Arc::clone(&self.disks), path }
    }
}

impl Slot {
    /// The file.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The disk. Nothing can be read or written until this is dropped.
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.disks.lock().unwrap().remove(&self.number);
    }
}

/// What the kernel asks. Never holds more than one lock, and touches no file: a thread of this
/// process may be waiting for a file system on one of the disks.
struct Served {
    disks: Disks,
}

impl Served {
    fn find(&self, inode: INodeNo) -> Result<Arc<Mutex<Disk>>, Errno> {
        self.disks.lock().unwrap().get(&inode.0).cloned().ok_or(Errno::ENOENT)
    }

    fn attributes(&self, inode: INodeNo) -> Result<FileAttr, Errno> {
        if inode == INodeNo::ROOT {
            return Ok(attributes(inode, FileType::Directory, 0));
        }
        let size = self.find(inode)?.lock().unwrap().size_bytes();
        Ok(attributes(inode, FileType::RegularFile, size))
    }
}

fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: u32::try_from(BLOCK).unwrap(),
        flags: 0,
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
        match self.attributes(INodeNo(number)) {
            Ok(attributes) => reply.entry(&VALID, &attributes, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Ok(attributes) => reply.attr(&VALID, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.find(inode) {
            Ok(disk) => {
                let mut buffer = vec![0; usize::try_from(size).unwrap()];
                disk.lock().unwrap().read(offset, &mut buffer);
                reply.data(&buffer);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.find(inode) {
            Ok(disk) => {
                disk.lock().unwrap().write(offset, data);
                reply.written(u32::try_from(data.len()).unwrap());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.find(inode) {
            Ok(disk) => {
                disk.lock().unwrap().flush();
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        }
    }
}
