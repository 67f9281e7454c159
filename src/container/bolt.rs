//! Reading BoltDB files, in which Podman up to version 5 has its containers.
//!
//! A file is a row of pages of one size. The first two are *meta* pages, of which the one with the
//! higher transaction number and a right checksum counts; it names the page of the root bucket. A
//! bucket is a B+ tree: branch pages have keys and numbers of pages, leaf pages have keys and
//! values. A value can be a bucket in turn: its root page's number, or 0 and the page itself right
//! behind it. Numbers are in the byte order of the machine; those of another one are refused.
//!
//! Nothing in a file is believed: every offset is checked, the depth of trees is limited, and a page
//! is only as long as the file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Error, Result, file};
use crate::sys::Cancel;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const HEADER: usize = 16;
/// Length of an element of a branch or leaf page.
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// Marks the value of a leaf as a bucket.
const BUCKET: u32 = 1;
/// More levels than any tree has that fits on a disk.
const MAX_DEPTH: usize = 32;
/// Longest page, in bytes: Podman's values have some 20 kB.
const MAX_PAGE: u64 = 64 << 20;
/// How long a writer may keep the file. Podman's transactions take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// An open database, with its lock shared. Writers wait until it is dropped.
#[derive(Debug)]
pub(super) struct Bolt {
    file: File,
    path: PathBuf,
    length: u64,
    page_size: u64,
    root: u64,
}

/// A tree of keys and values.
#[derive(Debug, Clone)]
pub(super) enum Bucket {
    /// Its root has a page of its own.
    Page(u64),
    /// Its only page.
    Inline(Vec<u8>),
}

enum Value {
    Bytes(Vec<u8>),
    Bucket(Bucket),
}

impl Bolt {
    /// Opens a database; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Busy`] if a writer does not let go of it.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Option<Self>> {
        let Some(file) = file::open(path)? else { return Ok(None) };
        lock(&file, path, cancel)?;
        let length = file.metadata().map_err(Error::io("examining", path))?.len();
        // A page size that no meta page has told yet.
        let mut bolt = Self { file, path: path.to_owned(), length, page_size: 4096, root: 0 };
        bolt.find_root()?;
        Ok(Some(bolt))
    }

    /// The bucket that all others are in.
    pub(super) fn root(&self) -> Bucket {
        Bucket::Page(self.root)
    }

    /// The value of a key; `None` if there is none or it is a bucket.
    pub(super) fn get(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(match self.find(bucket, key)? {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// The bucket of this name; `None` if there is none or it is a value.
    pub(super) fn bucket(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Bucket>> {
        Ok(match self.find(bucket, key)? {
            Some(Value::Bucket(bucket)) => Some(bucket),
            _ => None,
        })
    }

    /// Any key of a bucket; `None` if it is empty.
    pub(super) fn any_key(&self, bucket: &Bucket) -> Result<Option<Vec<u8>>> {
        let mut page = match bucket {
            Bucket::Page(number) => self.page(*number)?,
            Bucket::Inline(page) => page.clone(),
        };
        for _ in 0..MAX_DEPTH {
            let broken = || self.damaged("an element that leads out of its page");
            let flags = u16_at(&page, 8).ok_or_else(broken)?;
            if u16_at(&page, 10).ok_or_else(broken)? == 0 {
                return Ok(None);
            }
            if flags == LEAF {
                let position = u32_at(&page, HEADER + 4).ok_or_else(broken)?;
                let size = u32_at(&page, HEADER + 8).ok_or_else(broken)?;
                return Ok(Some(slice(&page, HEADER, position, size).ok_or_else(broken)?.to_vec()));
            }
            if flags != BRANCH {
                return Err(self.damaged("a page that is neither branch nor leaf"));
            }
            page = self.page(u64_at(&page, HEADER + 8).ok_or_else(broken)?)?;
        }
        Err(self.damaged("a tree that is too deep"))
    }

    fn find_root(&mut self) -> Result<()> {
        let mut best: Option<(u64, u64, u64)> = None;
        // The second meta page is behind the first, which tells how long a page is; should the first
        // be damaged, all sizes that systems have are tried.
        let sizes = [4096u64, 8192, 16384, 65536];
        for offset in std::iter::once(0).chain(sizes) {
            let Some(meta) = self.meta(offset)? else { continue };
            if offset != 0 && offset != meta.page_size {
                continue;
            }
            if best.is_none_or(|(transaction, ..)| meta.transaction > transaction) {
                best = Some((meta.transaction, meta.page_size, meta.root));
            }
        }
        let (_, page_size, root) = best.ok_or_else(|| self.damaged("no valid meta page"))?;
        (self.page_size, self.root) = (page_size, root);
        Ok(())
    }

    fn meta(&self, offset: u64) -> Result<Option<Meta>> {
        let mut page = [0; 80];
        match self.file.read_exact_at(&mut page, offset) {
            Ok(()) => Ok(Meta::parse(&page)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::io("reading", &self.path)(error)),
        }
    }

    fn find(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Value>> {
        let mut page = match bucket {
            Bucket::Page(number) => self.page(*number)?,
            Bucket::Inline(page) => page.clone(),
        };
        for _ in 0..MAX_DEPTH {
            let broken = || self.damaged("an element that leads out of its page");
            let flags = u16_at(&page, 8).ok_or_else(broken)?;
            let count = usize::from(u16_at(&page, 10).ok_or_else(broken)?);
            if flags == LEAF {
                return self.find_in_leaf(&page, count, key);
            }
            if flags != BRANCH {
                return Err(self.damaged("a page that is neither branch nor leaf"));
            }
            // The last child whose first key is not behind the one that is looked for.
            let mut next = None;
            for at in (0..count).map(|index| HEADER + index * ELEMENT) {
                let position = u32_at(&page, at).ok_or_else(broken)?;
                let size = u32_at(&page, at + 4).ok_or_else(broken)?;
                let first = slice(&page, at, position, size).ok_or_else(broken)?;
                if next.is_some() && first > key {
                    break;
                }
                next = Some(u64_at(&page, at + 8).ok_or_else(broken)?);
            }
            page =
                self.page(next.ok_or_else(|| self.damaged("a branch page without children"))?)?;
        }
        Err(self.damaged("a tree that is too deep"))
    }

    fn find_in_leaf(&self, page: &[u8], count: usize, key: &[u8]) -> Result<Option<Value>> {
        let broken = || self.damaged("an element that leads out of its page");
        for at in (0..count).map(|index| HEADER + index * ELEMENT) {
            let flags = u32_at(page, at).ok_or_else(broken)?;
            let position = u32_at(page, at + 4).ok_or_else(broken)?;
            let key_size = u32_at(page, at + 8).ok_or_else(broken)?;
            if slice(page, at, position, key_size).ok_or_else(broken)? != key {
                continue;
            }
            let behind = position.checked_add(key_size).ok_or_else(broken)?;
            let size = u32_at(page, at + 12).ok_or_else(broken)?;
            let value = slice(page, at, behind, size).ok_or_else(broken)?;
            if flags & BUCKET == 0 {
                return Ok(Some(Value::Bytes(value.to_vec())));
            }
            let root = u64_at(value, 0).ok_or_else(broken)?;
            return Ok(Some(Value::Bucket(match root {
                // Root and sequence number, then the page.
                0 => Bucket::Inline(value.get(16..).ok_or_else(broken)?.to_vec()),
                number => Bucket::Page(number),
            })));
        }
        Ok(None)
    }

    /// A page with those that continue it.
    fn page(&self, number: u64) -> Result<Vec<u8>> {
        let outside = || self.damaged("a page outside of the file");
        let start = number.checked_mul(self.page_size).ok_or_else(outside)?;
        let mut header = [0; HEADER];
        let failed = Error::io("reading", &self.path);
        if start.checked_add(self.page_size).is_none_or(|end| end > self.length) {
            return Err(outside());
        }
        self.file.read_exact_at(&mut header, start).map_err(failed)?;
        let overflow = u64::from(u32_at(&header, 12).unwrap_or_default());
        let size = (overflow + 1).checked_mul(self.page_size).ok_or_else(outside)?;
        if size > MAX_PAGE || start.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(outside());
        }
        let mut page = vec![0; usize::try_from(size).map_err(|_| outside())?];
        self.file.read_exact_at(&mut page, start).map_err(Error::io("reading", &self.path))?;
        Ok(page)
    }

    fn damaged(&self, reason: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), reason }
    }
}

struct Meta {
    page_size: u64,
    root: u64,
    transaction: u64,
}

impl Meta {
    /// Reads a meta page; `None` if it is not one, or its checksum is wrong.
    fn parse(page: &[u8; 80]) -> Option<Self> {
        let page_size = u64::from(u32_at(page, 24)?);
        let valid = u32_at(page, 16)? == MAGIC
            && u32_at(page, 20)? == VERSION
            && page_size.is_power_of_two()
            && (512..=1 << 20).contains(&page_size)
            && u64_at(page, 72)? == fnv1a(page.get(16..72)?);
        valid.then_some(())?;
        Some(Self { page_size, root: u64_at(page, 32)?, transaction: u64_at(page, 64)? })
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// `size` bytes, `position` bytes behind the element that is at `at`.
fn slice(page: &[u8], at: usize, position: u32, size: u32) -> Option<&[u8]> {
    let start = at.checked_add(usize::try_from(position).ok()?)?;
    page.get(start..start.checked_add(usize::try_from(size).ok()?)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The lock of BoltDB is `flock(2)`: exclusive for writers.
fn lock(file: &File, path: &Path, cancel: &Cancel) -> Result<()> {
    let start = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(Error::io("locking", path)(errno.into())),
        }
        cancel.check()?;
        if start.elapsed() > PATIENCE {
            return Err(Error::Busy { path: path.to_owned() });
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 512;

    /// A file with the pages given, behind two meta pages that say that the root is page 3.
    fn file(pages: &[Vec<u8>]) -> Vec<u8> {
        let meta = |transaction: u64, root: u64| {
            let mut page = vec![0; PAGE];
            page[16..20].copy_from_slice(&MAGIC.to_ne_bytes());
            page[20..24].copy_from_slice(&VERSION.to_ne_bytes());
            page[24..28].copy_from_slice(&u32::try_from(PAGE).unwrap().to_ne_bytes());
            page[32..40].copy_from_slice(&root.to_ne_bytes());
            page[64..72].copy_from_slice(&transaction.to_ne_bytes());
            let sum = fnv1a(&page[16..72]);
            page[72..80].copy_from_slice(&sum.to_ne_bytes());
            page
        };
        let mut file = [meta(7, 3), meta(6, 999), vec![0; PAGE]].concat();
        file.extend(pages.concat());
        file
    }

    fn page(flags: u16, elements: &[(u32, &[u8], Vec<u8>)]) -> Vec<u8> {
        let mut page = vec![0; HEADER + elements.len() * ELEMENT];
        page[8..10].copy_from_slice(&flags.to_ne_bytes());
        page[10..12].copy_from_slice(&u16::try_from(elements.len()).unwrap().to_ne_bytes());
        for (index, (flags_of, key, value)) in elements.iter().enumerate() {
            let at = HEADER + index * ELEMENT;
            let position = u32::try_from(page.len() - at).unwrap();
            let key_size = u32::try_from(key.len()).unwrap();
            let words = if flags == LEAF {
                [*flags_of, position, key_size, u32::try_from(value.len()).unwrap()]
                    .map(u32::to_ne_bytes)
                    .concat()
            } else {
                [position, key_size]
                    .map(u32::to_ne_bytes)
                    .concat()
                    .into_iter()
                    .chain(value.clone())
                    .collect()
            };
            page[at..at + ELEMENT].copy_from_slice(&words);
            page.extend_from_slice(key);
            if flags == LEAF {
                page.extend_from_slice(value);
            }
        }
        page
    }

    fn padded(mut page: Vec<u8>) -> Vec<u8> {
        let pages = page.len().div_ceil(PAGE);
        page[12..16].copy_from_slice(&u32::try_from(pages - 1).unwrap().to_ne_bytes());
        page.resize(pages * PAGE, 0);
        page
    }

    fn opened(bytes: &[u8]) -> Result<Bolt> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        std::fs::write(&path, bytes).unwrap();
        Ok(Bolt::open(&path, &Cancel::new())?.unwrap())
    }

    /// Root at page 3: a branch with leaves at pages 4 and 5; the second has an inline bucket, a
    /// bucket at page 6, and a value of more than a page.
    fn sample() -> Vec<u8> {
        let child = |number: u64| number.to_ne_bytes().to_vec();
        let inline = [vec![0; 16], page(LEAF, &[(0, b"config", b"{}".to_vec())])].concat();
        let far = [6u64.to_ne_bytes().to_vec(), vec![0; 8]].concat();
        let second: &[(u32, &[u8], Vec<u8>)] =
            &[(0, b"long", vec![b'x'; 700]), (BUCKET, b"m", inline), (BUCKET, b"n", far)];
        let second = padded(page(LEAF, second));
        assert_eq!(second.len(), 2 * PAGE);
        file(&[
            padded(page(BRANCH, &[(0, b"a", child(4)), (0, b"long", child(7))])),
            padded(page(LEAF, &[(0, b"a", b"1".to_vec()), (0, b"b", b"2".to_vec())])),
            vec![0; PAGE],
            padded(page(LEAF, &[(0, b"state", b"3".to_vec())])),
            second,
        ])
    }

    #[test]
    fn finds_values_and_buckets() {
        let bolt = opened(&sample()).unwrap();
        let root = bolt.root();
        for (key, value) in [
            (&b"a"[..], Some(b"1".to_vec())),
            (b"b", Some(b"2".to_vec())),
            (b"bb", None),
            (b"", None),
            (b"m", None),
            (b"zz", None),
            (b"long", Some(vec![b'x'; 700])),
        ] {
            assert_eq!(bolt.get(&root, key).unwrap(), value, "{key:?}");
        }
        let inline = bolt.bucket(&root, b"m").unwrap().unwrap();
        assert_eq!(bolt.get(&inline, b"config").unwrap().unwrap(), b"{}");
        let far = bolt.bucket(&root, b"n").unwrap().unwrap();
        for (bucket, key) in [(&root, &b"a"[..]), (&inline, b"config"), (&far, b"state")] {
            assert_eq!(bolt.any_key(bucket).unwrap().unwrap(), key);
        }
        let nothing = Bucket::Inline(page(LEAF, &[]));
        assert_eq!(bolt.any_key(&nothing).unwrap(), None);
        assert_eq!(bolt.get(&far, b"state").unwrap().unwrap(), b"3");
        assert!(bolt.bucket(&root, b"a").unwrap().is_none());
    }

    #[test]
    fn the_other_meta_page_counts_when_one_is_damaged() {
        let mut bytes = sample();
        // The first one says page 3; the second, older one leads nowhere.
        bytes[40] ^= 1;
        let bolt = opened(&bytes).unwrap_err();
        assert!(matches!(bolt, Error::Damaged { reason: "no valid meta page", .. }));
    }

    #[test]
    fn a_tree_that_leads_back_to_itself_ends() {
        let branch = page(BRANCH, &[(0, b"a", 3u64.to_ne_bytes().to_vec())]);
        let bolt = opened(&file(&[padded(branch)])).unwrap();
        assert!(bolt.get(&bolt.root(), b"a").is_err());
    }

    #[test]
    fn a_writer_keeps_readers_out_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        std::fs::write(&path, sample()).unwrap();
        let writer = File::open(&path).unwrap();
        flock(&writer, FlockOperation::LockExclusive).unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(matches!(Bolt::open(&path, &cancel), Err(Error::Canceled(_))));
        thread::scope(|scope| {
            let reading = scope.spawn(|| Bolt::open(&path, &Cancel::new()).unwrap().is_some());
            drop(writer);
            assert!(reading.join().unwrap());
        });
    }

    proptest! {
        /// Whatever is in a file, reading it ends with an answer or an error.
        #[test]
        fn hostile_files_are_harmless(changes in prop::collection::vec((0usize..4608, any::<u8>()), 1..40), cut in 0usize..4608) {
            let mut bytes = sample();
            for (at, byte) in changes {
                // The meta pages stay valid, or nothing behind them would be looked at.
                if let Some(place) = bytes.get_mut(at.max(2 * PAGE)) {
                    *place = byte;
                }
            }
            bytes.truncate(cut.max(2 * PAGE));
            if let Ok(bolt) = opened(&bytes) {
                for key in [&b"a"[..], b"long", b"m", b"n"] {
                    if let Ok(Some(bucket)) = bolt.bucket(&bolt.root(), key) {
                        let _ = bolt.get(&bucket, b"config");
                    }
                    let _ = bolt.get(&bolt.root(), key);
                }
            }
        }
    }
}
