//! Writing the headers of a layer's tar: USTAR, and PAX records for what does not fit in it.
//!
//! The same tree gives the same bytes: no user names, no access times, modification times in whole
//! seconds, as containers/storage writes them.

use super::header::BLOCK;
use super::trees::file_type;
use rustix::fs::{FileType, Stat};

/// What a member of a tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with so many bytes of content.
    File(u64),
    /// Another name of a member before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A device for characters.
    CharDevice,
    /// A device for blocks.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// `None` for what a tar does not have: sockets.
    pub(super) fn of(stat: &Stat, size: u64) -> Option<Self> {
        Some(match file_type(stat) {
            FileType::RegularFile => Self::File(size),
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Directory => Self::Directory,
            FileType::Fifo => Self::Fifo,
            _ => return None,
        })
    }

    fn entry_type(self) -> tar::EntryType {
        match self {
            Self::File(_) => tar::EntryType::Regular,
            Self::HardLink => tar::EntryType::Link,
            Self::Symlink => tar::EntryType::Symlink,
            Self::CharDevice => tar::EntryType::Char,
            Self::BlockDevice => tar::EntryType::Block,
            Self::Directory => tar::EntryType::Directory,
            Self::Fifo => tar::EntryType::Fifo,
        }
    }
}

/// One member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// Its path, without a slash at either end.
    pub(super) path: &'a [u8],
    pub(super) kind: Kind,
    /// Permissions with the special bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Modification time in seconds since the epoch.
    pub(super) mtime: i64,
    /// Target of a link.
    pub(super) link: &'a [u8],
    /// Numbers of a device.
    pub(super) device: (u32, u32),
    /// Extended attributes, by name.
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Lengths of fields of the header, in bytes.
const NAME: usize = 100;
/// Highest numbers that fit.
const MAX_ID: u32 = 0o777_7777;
const MAX_LONG: u64 = 0o777_7777_7777;

impl Member<'_> {
    /// The headers, to be followed by the content.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mut name = self.path.to_vec();
        if self.kind == Kind::Directory {
            name.push(b'/');
        }
        let size = if let Kind::File(size) = self.kind { size } else { 0 };
        let mtime = u64::try_from(self.mtime).ok().filter(|mtime| *mtime <= MAX_LONG);
        let fits = |text: &[u8]| text.len() <= NAME && text.is_ascii();

        let mut records = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| add_record(&mut records, key, value);
        if !fits(&name) {
            record(b"path", &name);
        }
        if !fits(self.link) {
            record(b"linkpath", self.link);
        }
        if size > MAX_LONG {
            record(b"size", size.to_string().as_bytes());
        }
        if self.uid > MAX_ID {
            record(b"uid", self.uid.to_string().as_bytes());
        }
        if self.gid > MAX_ID {
            record(b"gid", self.gid.to_string().as_bytes());
        }
        if mtime.is_none() {
            record(b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in self.xattrs {
            record(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }

        let mut header = tar::Header::new_ustar();
        header.set_entry_type(self.kind.entry_type());
        header.set_mode(self.mode);
        header.set_uid(if self.uid > MAX_ID { 0 } else { self.uid.into() });
        header.set_gid(if self.gid > MAX_ID { 0 } else { self.gid.into() });
        header.set_size(if size > MAX_LONG { 0 } else { size });
        header.set_mtime(mtime.unwrap_or(0));
        set(&mut header.as_old_mut().name, &name);
        set(&mut header.as_old_mut().linkname, self.link);
        if let Some(ustar) = header.as_ustar_mut()
            && matches!(self.kind, Kind::CharDevice | Kind::BlockDevice)
        {
            ustar.set_device_major(self.device.0);
            ustar.set_device_minor(self.device.1);
        }
        header.set_cksum();
        if records.is_empty() {
            return header.as_bytes().to_vec();
        }
        let mut extension = tar::Header::new_ustar();
        extension.set_entry_type(tar::EntryType::XHeader);
        extension.set_mode(0);
        extension.set_uid(0);
        extension.set_gid(0);
        extension.set_mtime(0);
        extension.set_size(records.len() as u64);
        set(&mut extension.as_old_mut().name, b"PaxHeaders.0/entry");
        extension.set_cksum();
        let padding = padding(records.len() as u64);
        [extension.as_bytes(), &records[..], &[0; BLOCK][..padding], header.as_bytes()].concat()
    }
}

/// Zeros that fill the last block of a content of `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    let past = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    past.next_multiple_of(BLOCK) - past
}

/// As much of a text as fits. Where it does not, a record has the whole.
fn set(field: &mut [u8], text: &[u8]) {
    let text = if text.is_ascii() { text } else { b"entry" };
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// `length key=value\n`, where the length counts itself.
fn add_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{EntryKind, TarReader};
    use super::*;

    fn member<'a>(path: &'a [u8], kind: Kind) -> Member<'a> {
        Member {
            path,
            kind,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: 3,
            link: b"",
            device: (0, 0),
            xattrs: &[],
        }
    }

    #[test]
    fn what_fits_takes_one_block() {
        let headers = member(b"a/b", Kind::Directory).headers();
        assert_eq!(headers.len(), BLOCK);
        let header = tar::Header::from_byte_slice(&headers);
        assert_eq!(header.path_bytes(), &b"a/b/"[..]);
        assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o4755, 3));
        assert_eq!(header.username_bytes(), Some(&b""[..]));
        let headers = Member { device: (8, 1), ..member(b"d", Kind::BlockDevice) }.headers();
        let header = tar::Header::from_byte_slice(&headers);
        assert_eq!(
            (header.device_major().unwrap(), header.device_minor().unwrap()),
            (Some(8), Some(1))
        );
    }

    proptest! {
        /// Our own reader gives back what was written.
        #[test]
        fn members_come_back(
            path in prop::collection::vec(1u8..=255, 1..300),
            link in prop::collection::vec(1u8..=255, 0..300),
            (uid, gid, mtime) in (any::<u32>(), any::<u32>(), -10_000_000_000i64..100_000_000_000),
            xattr in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let path: Vec<u8> = path.into_iter().filter(|byte| *byte != b'/').collect();
            prop_assume!(!path.is_empty());
            // Numbers in the header of a negative owner mean something else to nobody.
            let xattrs = [(b"user.x".to_vec(), xattr)];
            let symlink = Member { uid, gid, mtime, link: &link, xattrs: &xattrs, ..member(&path, Kind::Symlink) };
            let tar = [symlink.headers(), vec![0; 2 * BLOCK]].concat();
            let mut reader = TarReader::with_limits(&tar[..], super::super::Limits::default());
            let entry = reader.next_entry().unwrap().unwrap();
            prop_assert_eq!(&entry.kind, &EntryKind::Symlink);
            prop_assert_eq!(&entry.name, &path);
            prop_assert_eq!(&entry.link, &link);
            prop_assert_eq!((entry.uid, entry.gid), (uid, gid));
            prop_assert_eq!(entry.mtime.seconds, mtime);
            prop_assert_eq!(&entry.xattrs, &xattrs.to_vec());
        }
    }
}
