//! Which compression a stream has, by its first bytes. Media types and file names are not believed.

use std::io::{self, Chain, Cursor, Read};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// bzip2.
    Bzip2,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A stream whose first bytes were looked at and put back.
pub(super) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

impl Compression {
    const MAGIC: [(Self, &'static [u8]); 4] = [
        (Self::Bzip2, b"BZh"),
        (Self::Gzip, &[0x1f, 0x8b, 0x08]),
        (Self::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0x00]),
        (Self::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
    ];

    /// The longest magic number.
    const MAGIC_LEN: u64 = 6;

    /// The compression of a stream that begins with `start`. Six bytes are enough.
    pub fn detect(start: &[u8]) -> Self {
        Self::MAGIC
            .iter()
            .find(|(_, magic)| start.starts_with(magic))
            .map_or(Self::None, |(compression, _)| *compression)
    }

    /// The number that stands for it in the `compression` field of a layer's record.
    pub fn record_value(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Bzip2 => 1,
            Self::Gzip => 2,
            Self::Xz => 3,
            Self::Zstd => 4,
        }
    }

    /// The compression that a number in the record of a layer stands for.
    pub fn of_record(value: u8) -> Option<Self> {
        [Self::None, Self::Bzip2, Self::Gzip, Self::Xz, Self::Zstd]
            .into_iter()
            .find(|compression| compression.record_value() == value)
    }

    /// Looks at the beginning of `input`.
    pub(super) fn peek<R: Read>(mut input: R) -> io::Result<(Self, Peeked<R>)> {
        let mut start = Vec::new();
        input.by_ref().take(Self::MAGIC_LEN).read_to_end(&mut start)?;
        Ok((Self::detect(&start), Cursor::new(start).chain(input)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_by_magic() {
        for (start, compression, value) in [
            (&b"BZh91AY"[..], Compression::Bzip2, 1),
            (b"\x1f\x8b\x08\0\0\0", Compression::Gzip, 2),
            (b"\xfd7zXZ\0", Compression::Xz, 3),
            (b"\x28\xb5\x2f\xfd\x04", Compression::Zstd, 4),
            (b"\x1f\x8b\x00", Compression::None, 0),
            (b"\xfd7zX", Compression::None, 0),
            (b"etc/", Compression::None, 0),
            (b"", Compression::None, 0),
        ] {
            let (found, mut rest) = Compression::peek(start).unwrap();
            assert_eq!((found, found.record_value()), (compression, value));
            assert_eq!(Compression::of_record(value), Some(found));
            let mut all = Vec::new();
            rest.read_to_end(&mut all).unwrap();
            assert_eq!(all, start);
        }
    }
}
