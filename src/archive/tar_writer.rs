//! Tar members whose content is pushed instead of pulled.
//!
//! `tar::Builder` reads members from a `Read`; our layers are written to a `Write`. So the header
//! comes from the tar crate, and the content passes through a writer that counts.

use std::io::{self, Write};

const BLOCK: usize = 512;

/// Writes members in order. Owner is 0:0; the format is GNU, so that sizes beyond 8 GiB fit.
#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    mode: u32,
    mtime: u64,
}

impl<W: Write> TarWriter<W> {
    /// Regular files get `mode`, everything gets `mtime` (seconds since the epoch).
    pub(super) fn new(out: W, mode: u32, mtime: u64) -> Self {
        Self { out, mode, mtime }
    }

    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        let header = self.header(path, tar::EntryType::Directory, 0o755, 0)?;
        self.out.write_all(header.as_bytes())
    }

    pub(super) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        // Without a mode, as Go writes them: links have none that anybody looks at.
        let mut header = self.header(path, tar::EntryType::Symlink, 0, 0)?;
        header.set_link_name(target)?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    pub(super) fn document(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.file(path, content.len() as u64, |out| out.write_all(content))
    }

    /// A member of exactly `size` bytes, which `fill` writes. Fewer or more are an error, and then
    /// the archive must not be ended properly.
    pub(super) fn file(
        &mut self,
        path: &str,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let header = self.header(path, tar::EntryType::Regular, self.mode, size)?;
        self.out.write_all(header.as_bytes())?;
        let mut body = Exactly { out: &mut self.out, left: size };
        fill(&mut body)?;
        if body.left != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path}: {} bytes fewer than announced", body.left),
            ));
        }
        let past = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let padding = past.next_multiple_of(BLOCK) - past;
        self.out.write_all(&[0; BLOCK][..padding])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
        &self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        size: u64,
    ) -> io::Result<tar::Header> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }
}

struct Exactly<'a, W> {
    out: &'a mut W,
    left: u64,
}

impl<W: Write> Write for Exactly<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than announced"));
        }
        let written = self.out.write(buf)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn members_come_back() {
        let mut tar = TarWriter::new(Vec::new(), 0o444, 0);
        tar.directory("blobs/").unwrap();
        tar.document("a", b"hello").unwrap();
        tar.symlink("d/layer.tar", "../a").unwrap();
        let bytes = tar.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|p| p.display().to_string());
            seen.push((
                entry.path().unwrap().display().to_string(),
                entry.header().mode().unwrap(),
                text,
                link,
            ));
        }
        assert_eq!(
            seen,
            [
                ("blobs/".into(), 0o755, String::new(), None),
                ("a".into(), 0o444, "hello".to_owned(), None),
                ("d/layer.tar".into(), 0, String::new(), Some("../a".to_owned())),
            ]
        );
    }

    #[test]
    fn lengths_are_kept() {
        let mut tar = TarWriter::new(Vec::new(), 0o444, 0);
        assert!(tar.file("a", 3, |out| out.write_all(b"ab")).is_err());
        assert!(tar.file("a", 3, |out| out.write_all(b"abcd")).is_err());
    }
}
