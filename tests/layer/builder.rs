//! Tars made field by field, also such as no tool would make.

use std::fmt;

use tar::Header;

/// A tar under construction.
#[derive(Default)]
pub(crate) struct Builder(Vec<u8>);

/// One entry under construction.
pub(crate) struct Item {
    header: Header,
    content: Vec<u8>,
    pax: Vec<(String, Vec<u8>)>,
}

/// Modification time of every entry.
pub(crate) const MTIME: u64 = 1_600_000_000;

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header.as_old();
        let text = |field: &[u8]| {
            field.split(|byte| *byte == 0).next().unwrap().escape_ascii().to_string()
        };
        write!(f, "{:?} {}", char::from(header.linkflag[0]), text(&header.name))?;
        if header.linkname[0] != 0 {
            write!(f, " -> {}", text(&header.linkname))?;
        }
        write!(f, " {} bytes", self.content.len())
    }
}

impl Item {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().linkflag = [kind];
        let name = name.as_ref();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(MTIME);
        Self { header, content: Vec::new(), pax: Vec::new() }
    }

    pub(crate) fn content(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = content.as_ref().to_vec();
        self.header.set_size(self.content.len() as u64);
        self
    }

    pub(crate) fn link(mut self, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref();
        self.header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    pub(crate) fn device(mut self, major: u32, minor: u32) -> Self {
        self.header.set_device_major(major).unwrap();
        self.header.set_device_minor(minor).unwrap();
        self
    }

    pub(crate) fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }
}

pub(crate) fn dir(name: impl AsRef<[u8]>) -> Item {
    Item::new(b'5', name)
}

pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Item {
    Item::new(b'0', name).content(content)
}

pub(crate) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item::new(b'2', name).link(target)
}

pub(crate) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item::new(b'1', name).link(target)
}

impl Builder {
    pub(crate) fn add(&mut self, mut item: Item) {
        if !item.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &item.pax {
                let body = key.len() + value.len() + 3;
                let digits = (1..).find(|d| (body + d).to_string().len() == *d).unwrap();
                records.extend_from_slice(format!("{} {key}=", body + digits).as_bytes());
                records.extend_from_slice(value);
                records.push(b'\n');
            }
            self.add(Item::new(b'x', "PaxHeaders/x").content(records));
        }
        item.header.set_cksum();
        self.0.extend_from_slice(item.header.as_bytes());
        self.0.extend_from_slice(&item.content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn tar(items: impl IntoIterator<Item = Item>) -> Vec<u8> {
    let mut builder = Builder::default();
    items.into_iter().for_each(|item| builder.add(item));
    builder.finish()
}
