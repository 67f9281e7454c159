//! One 512-byte tar header.
//!
//! What fields mean follows Go's `archive/tar`, since a layer must mean the same to us and to the tools
//! that share the store: empty numbers are zero, numbers may be binary and negative, and V7, POSIX,
//! star and GNU headers are told apart by their magic. (The `tar` crate reads some of these otherwise:
//! it refuses empty and negative numbers.)

use std::ops::Range;

/// Tar counts in blocks of this size.
pub(super) const BLOCK: usize = 512;

/// The fields that matter for layers, before extension headers had their say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawHeader {
    pub(super) type_byte: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) mtime: i64,
    pub(super) atime: Option<i64>,
    pub(super) major: i64,
    pub(super) minor: i64,
}

/// Why a header cannot be used.
pub(super) type Reason = &'static str;

const BAD_NUMBER: Reason = "number out of range in header";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Posix,
    Star,
    Gnu,
}

/// Where the fields are.
mod field {
    use super::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const UID: Range<usize> = 108..116;
    pub(super) const GID: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MTIME: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const TYPE: usize = 156;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..263;
    pub(super) const VERSION: Range<usize> = 263..265;
    pub(super) const MAJOR: Range<usize> = 329..337;
    pub(super) const MINOR: Range<usize> = 337..345;
    pub(super) const POSIX_PREFIX: Range<usize> = 345..500;
    pub(super) const STAR_PREFIX: Range<usize> = 345..476;
    pub(super) const STAR_ATIME: Range<usize> = 476..488;
    pub(super) const STAR_MAGIC: Range<usize> = 508..512;
    pub(super) const GNU_ATIME: Range<usize> = 345..357;
    pub(super) const GNU_CTIME: Range<usize> = 357..369;
}

impl RawHeader {
    /// Reads a header and verifies its checksum.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Reason> {
        verify_checksum(block)?;
        let mut raw = Self {
            type_byte: block[field::TYPE],
            name: text(&block[field::NAME]).to_vec(),
            link: text(&block[field::LINK]).to_vec(),
            size: number(&block[field::SIZE])?,
            mode: number(&block[field::MODE])?,
            uid: number(&block[field::UID])?,
            gid: number(&block[field::GID])?,
            mtime: number(&block[field::MTIME])?,
            atime: None,
            major: 0,
            minor: 0,
        };
        let format = format(block);
        if format == Format::V7 {
            return Ok(raw);
        }
        raw.major = number(&block[field::MAJOR])?;
        raw.minor = number(&block[field::MINOR])?;
        let mut prefix = &[][..];
        match format {
            Format::V7 => {}
            Format::Posix => prefix = text(&block[field::POSIX_PREFIX]),
            Format::Star => {
                prefix = text(&block[field::STAR_PREFIX]);
                raw.atime = Some(number(&block[field::STAR_ATIME])?);
            }
            Format::Gnu => {
                let times =
                    (gnu_time(&block[field::GNU_ATIME]), gnu_time(&block[field::GNU_CTIME]));
                let misplaced = text(&block[field::POSIX_PREFIX]);
                match times {
                    (Ok(atime), Ok(_)) => raw.atime = atime,
                    // Go before 1.8 could write a prefix where GNU has its times.
                    _ if misplaced.is_ascii() => prefix = misplaced,
                    _ => {}
                }
            }
        }
        if !prefix.is_empty() {
            raw.name = [prefix, b"/", &raw.name].concat();
        }
        Ok(raw)
    }
}

fn format(block: &[u8; BLOCK]) -> Format {
    match (&block[field::MAGIC], &block[field::VERSION], &block[field::STAR_MAGIC]) {
        (b"ustar\0", _, b"tar\0") => Format::Star,
        (b"ustar\0", ..) => Format::Posix,
        (b"ustar ", b" \0", _) => Format::Gnu,
        _ => Format::V7,
    }
}

/// The sum counts its own field as spaces; some old tools added signed bytes.
fn verify_checksum(block: &[u8; BLOCK]) -> Result<(), Reason> {
    let stored = octal(&block[field::CHECKSUM])?;
    let mut unsigned = 0i64;
    let mut signed = 0i64;
    for (index, byte) in block.iter().enumerate() {
        let byte = if field::CHECKSUM.contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if stored == unsigned || stored == signed { Ok(()) } else { Err("wrong header checksum") }
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

fn gnu_time(field: &[u8]) -> Result<Option<i64>, Reason> {
    if field.first() == Some(&0) { Ok(None) } else { number(field).map(Some) }
}

/// Octal digits, or base 256 in two's complement if the first bit is set.
fn number(field: &[u8]) -> Result<i64, Reason> {
    let Some((first, rest)) = field.split_first() else { return Ok(0) };
    if first & 0x80 == 0 {
        return octal(field);
    }
    let invert = if first & 0x40 == 0 { 0 } else { 0xff };
    let mut value = i64::from((first ^ invert) & 0x7f);
    for byte in rest {
        if value >> 55 != 0 {
            return Err(BAD_NUMBER);
        }
        value = value << 8 | i64::from(byte ^ invert);
    }
    Ok(if invert == 0 { value } else { !value })
}

fn octal(field: &[u8]) -> Result<i64, Reason> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    text(&field[start..end]).iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' if value >> 60 == 0 => Ok(value << 3 | i64::from(digit - b'0')),
        _ => Err(BAD_NUMBER),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_go_does() {
        let mut minus_one = [0xff; 12];
        let mut binary = [0; 12];
        binary[0] = 0x80;
        binary[7] = 1;
        for (bytes, value) in [
            (&b"0000644\0"[..], Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"        ", Ok(0)),
            (b"12\x0034\0\0\0", Ok(0o12)),
            (b"0000648\0", Err(BAD_NUMBER)),
            (b"-1\0\0\0\0\0\0", Err(BAD_NUMBER)),
            (b"777777777777", Ok(0o777_777_777_777)),
            (&binary, Ok(1 << 32)),
            (&minus_one, Ok(-1)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err(BAD_NUMBER)),
        ] {
            assert_eq!(number(bytes), value, "{bytes:?}");
        }
        minus_one[11] = 0;
        assert_eq!(number(&minus_one), Ok(-256));
    }

    fn block(change: impl FnOnce(&mut tar::Header)) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        change(&mut header);
        header.set_cksum();
        *header.as_bytes()
    }

    #[test]
    fn joins_prefix_and_name() {
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        let raw = RawHeader::parse(&block(|header| header.set_path(&long).unwrap())).unwrap();
        assert_eq!(raw.name, long.as_bytes());
        assert_eq!((raw.size, raw.mode, raw.uid, raw.gid, raw.mtime), (3, 0o4755, 7, 8, 9));
    }

    #[test]
    fn accepts_signed_sums_and_refuses_wrong_ones() {
        let mut bytes = block(|header| header.as_old_mut().name[..3].copy_from_slice(b"\xff\xfea"));
        assert_eq!(RawHeader::parse(&bytes).unwrap().name, b"\xff\xfea");
        let unsigned = octal(&bytes[field::CHECKSUM]).unwrap();
        let signed = format!("{:06o}\0 ", unsigned - 512);
        bytes[field::CHECKSUM].copy_from_slice(signed.as_bytes());
        assert_eq!(RawHeader::parse(&bytes).unwrap().name, b"\xff\xfea");
        bytes[0] ^= 1;
        assert_eq!(RawHeader::parse(&bytes), Err("wrong header checksum"));
    }
}
