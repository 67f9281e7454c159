//! Sparse files in GNU tar's PAX formats 0.0, 0.1 and 1.0.
//!
//! On disk they become ordinary files of full size (with holes). Their payload is not their content,
//! so a tar-split keeps it whole instead of referring to the file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::error::lossy;
use super::header::{BLOCK, Reason};
use super::pax::{SparseRecords, decimal};
use super::{Error, Limits, Result};

const BAD_MAP: Reason = "bad map";

/// Buffer for the copy of a region.
const CHUNK: usize = 64 << 10;

/// A sparse file's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseFile {
    /// Full length in bytes.
    size: u64,
    /// Where its data goes; in format 1.0 the payload itself begins with this.
    map: Option<Map>,
}

/// Regions with data, in order, not overlapping.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Map(Vec<Region>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    offset: u64,
    len: u64,
}

/// The sparse file that PAX records describe, if they describe one.
///
/// As in Go, an unknown version means an ordinary file.
pub(super) fn from_records(
    records: &SparseRecords,
    limits: &Limits,
) -> Result<Option<SparseFile>, Reason> {
    let in_payload = match (&records.major[..], &records.minor[..]) {
        (b"0", b"0" | b"1") => false,
        (b"1", b"0") => true,
        (b"", b"") if !records.map.is_empty() => false,
        _ => return Ok(None),
    };
    let size = records.size.or(records.real_size).ok_or("sparse file without a size")?;
    let map = if in_payload {
        None
    } else {
        if records.count != Some(records.map.len() as u64 / 2) {
            return Err("bad map of sparse file");
        }
        Some(Map::new(&records.map, size, limits).map_err(|_| "bad map of sparse file")?)
    };
    Ok(Some(SparseFile { size, map }))
}

impl Map {
    fn new(numbers: &[u64], size: u64, limits: &Limits) -> Result<Self, Reason> {
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > limits.sparse_regions {
            return Err(BAD_MAP);
        }
        let mut end = 0;
        let mut regions = Vec::with_capacity(pairs.len());
        for [offset, len] in pairs.iter().copied() {
            if offset < end {
                return Err(BAD_MAP);
            }
            end = offset.checked_add(len).filter(|end| *end <= size).ok_or(BAD_MAP)?;
            regions.push(Region { offset, len });
        }
        Ok(Self(regions))
    }

    /// Reads the map a format 1.0 payload begins with: decimal numbers, one a line, first the number
    /// of regions; the map is padded to whole blocks.
    fn read(payload: &mut impl Read, size: u64, name: &[u8], limits: &Limits) -> Result<Self> {
        let bad = || Error::Sparse { name: lossy(name), reason: BAD_MAP };
        let mut numbers: Vec<u64> = Vec::new();
        let mut digits = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            payload.read_exact(&mut block)?;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    // No number has more digits; padding may come, but then the map is complete.
                    if digits.len() > BLOCK {
                        return Err(bad());
                    }
                    continue;
                }
                numbers.push(decimal(&digits).ok_or_else(bad)?);
                digits.clear();
                let Some((count, regions)) = numbers.split_first() else { continue };
                if *count > limits.sparse_regions as u64 {
                    let (what, limit) =
                        ("regions of one sparse file", limits.sparse_regions as u64);
                    return Err(Error::Limit { what, limit });
                }
                if regions.len() as u64 == 2 * count {
                    return Self::new(regions, size, limits).map_err(|_| bad());
                }
            }
        }
    }
}

impl SparseFile {
    /// Full length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `file`, which is empty, from the entry's payload, and reads the payload to its end.
    pub(super) fn expand(
        &self,
        payload: &mut impl Read,
        file: &File,
        name: &[u8],
        limits: &Limits,
    ) -> Result<()> {
        let read;
        let map = match &self.map {
            Some(map) => map,
            None => {
                read = Map::read(payload, self.size, name, limits)?;
                &read
            }
        };
        file.set_len(self.size).map_err(|error| Error::tree("extending file", name, error))?;
        let mut chunk = vec![0; CHUNK];
        for Region { mut offset, len } in map.0.iter().copied() {
            let mut data = payload.by_ref().take(len);
            while data.limit() > 0 {
                let read = read_some(&mut data, &mut chunk)?;
                let bytes = chunk.get(..read).unwrap_or_default();
                file.write_all_at(bytes, offset)
                    .map_err(|error| Error::tree("writing file", name, error))?;
                offset = offset.saturating_add(read as u64);
            }
        }
        let unused = io::copy(payload, &mut io::sink())?;
        if unused > 0 {
            return Err(Error::Sparse { name: lossy(name), reason: "data without a place" });
        }
        Ok(())
    }
}

/// Like `read`, but the end is an error.
fn read_some(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buf) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(map: Option<&[u64]>, size: u64, payload: &[u8]) -> Result<Vec<u8>> {
        let limits = Limits::default();
        let map = map.map(|map| Map::new(map, size, &limits).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        SparseFile { size, map }.expand(&mut &payload[..], &file, b"f", &limits)?;
        let mut content = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut content).unwrap();
        Ok(content)
    }

    fn with_map(map: &str, data: &[u8]) -> Vec<u8> {
        let mut payload = map.as_bytes().to_vec();
        payload.resize(map.len().next_multiple_of(BLOCK), 0);
        payload.extend_from_slice(data);
        payload
    }

    #[test]
    fn puts_regions_in_their_place() {
        assert_eq!(expand(Some(&[2, 3, 6, 1, 8, 0]), 8, b"abcd").unwrap(), b"\0\0abc\0d\0");
        assert_eq!(expand(Some(&[]), 3, b"").unwrap(), b"\0\0\0");
        assert_eq!(expand(None, 4, &with_map("2\n0\n1\n3\n1\n", b"ab")).unwrap(), b"a\0\0b");
        let many: String = (0..200).map(|n| format!("{}\n1\n", 2 * n)).collect();
        let content = expand(None, 400, &with_map(&format!("200\n{many}"), &[7; 200])).unwrap();
        assert!(content.chunks(2).all(|pair| pair == [7, 0]));
    }

    #[test]
    fn refuses_maps_that_do_not_fit() {
        let limits = Limits::default();
        for map in [&[0, 11][..], &[0, 5, 4, 1], &[0], &[u64::MAX, 2], &[11, 0]] {
            assert_eq!(Map::new(map, 10, &limits), Err(BAD_MAP), "{map:?}");
        }
        for (payload, message) in [
            (with_map("1\n0\n2\n", b"a"), "unexpected EOF"),
            (with_map("1\n0\n1\n", b"ab"), "malformed sparse file \"f\": data without a place"),
            (with_map("1\nx\n1\n", b"ab"), "malformed sparse file \"f\": bad map"),
            (
                with_map("999999999\n", b""),
                "layer exceeds the limit of 262144 regions of one sparse file",
            ),
            (with_map("2\n0\n1\n", b""), "unexpected EOF"),
            (vec![b'1'; 2 * BLOCK], "malformed sparse file \"f\": bad map"),
        ] {
            assert_eq!(expand(None, 10, &payload).unwrap_err().to_string(), message);
        }
    }
}
