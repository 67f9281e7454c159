//! The tar-split: what a layer's tree does not hold of its tar.
//!
//! Gzip of one JSON object a line, in stream order, as containers/storage keeps it beside each layer
//! (`<id>.tar-split.gz`):
//!
//! ```json
//! {"type":2,"payload":"<base64 of raw bytes>","position":0}
//! {"type":1,"name":"etc/hostname","size":4,"payload":"<base64 of CRC-64>","position":1}
//! ```
//!
//! Type 2 is a segment to be copied. Type 1 stands for an entry; if it has a size, that many bytes come
//! from the file of that name. Names are as in the tar, in `name_raw` as base64 if not valid UTF-8.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::gunzip::Gunzip;
use super::{Error, Result};

/// Longest segment that is written. Readers in Go take any.
const SEGMENT: usize = 1 << 20;

/// Longest line that is read. Old writers put all that follows the archive's end into one segment;
/// beyond this we refuse.
const LINE: u64 = 64 << 20;

/// Compression level, also that of the Go tools. Base64 of mostly zeros packs well at any.
const LEVEL: u32 = 1;

const BUFFER: usize = 64 << 10;

/// Writes a tar-split.
pub(super) struct Writer<W: Write> {
    out: BufWriter<GzEncoder<W>>,
    /// The current line; kept for its memory.
    line: Vec<u8>,
    position: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        let gzip = GzEncoder::new(out, flate2::Compression::new(LEVEL));
        Self { out: BufWriter::with_capacity(BUFFER, gzip), line: Vec::new(), position: 0 }
    }

    /// Keeps `bytes`, as several segments if they are long, as none if there are none.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> Result<()> {
        for bytes in bytes.chunks(SEGMENT) {
            self.line.extend_from_slice(br#"{"type":2"#);
            self.base64_field("payload", bytes);
            self.end_line()?;
        }
        Ok(())
    }

    /// Notes an entry whose bytes, if any, are in segments.
    pub(super) fn entry(&mut self, name: &[u8]) -> Result<()> {
        self.name(name);
        self.line.extend_from_slice(br#","payload":null"#);
        self.end_line()
    }

    /// Notes an entry whose payload is the content of its file.
    pub(super) fn file(&mut self, name: &[u8], size: u64, crc: [u8; 8]) -> Result<()> {
        if size == 0 {
            return self.entry(name);
        }
        self.name(name);
        self.line.extend_from_slice(format!(r#","size":{size}"#).as_bytes());
        self.base64_field("payload", &crc);
        self.end_line()
    }

    /// Completes the file. It is not synced.
    pub(super) fn finish(self) -> Result<W> {
        let gzip =
            self.out.into_inner().map_err(|error| Error::write_tar_split(error.into_error()))?;
        gzip.finish().map_err(Error::write_tar_split)
    }

    fn name(&mut self, name: &[u8]) {
        self.line.extend_from_slice(br#"{"type":1"#);
        match std::str::from_utf8(name) {
            Ok("") => {}
            Ok(text) => {
                self.line.extend_from_slice(br#","name":"#);
                serde_json::to_writer(&mut self.line, text).expect("a string, into memory");
            }
            Err(_) => self.base64_field("name_raw", name),
        }
    }

    fn base64_field(&mut self, key: &str, bytes: &[u8]) {
        self.line.extend_from_slice(format!(r#","{key}":""#).as_bytes());
        let start = self.line.len();
        self.line.resize(start + bytes.len().div_ceil(3) * 4, 0);
        BASE64
            .encode_slice(bytes, &mut self.line[start..])
            .expect("four characters for every three bytes");
        self.line.push(b'"');
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.extend_from_slice(format!(",\"position\":{}}}\n", self.position).as_bytes());
        self.position += 1;
        self.out.write_all(&self.line).map_err(Error::write_tar_split)?;
        self.line.clear();
        Ok(())
    }
}

/// One line of a tar-split.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Raw bytes.
    Segment(&'a [u8]),
    /// An entry that gives no bytes.
    Entry,
    /// The content of a file.
    File {
        /// The entry's name.
        name: Cow<'a, [u8]>,
        /// How many bytes.
        size: u64,
        /// Their checksum.
        crc: [u8; 8],
    },
}

/// Reads a tar-split.
pub(super) struct Reader<R: Read> {
    input: BufReader<Gunzip<BufReader<R>>>,
    line: Vec<u8>,
    number: u64,
    segment: Vec<u8>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    name_raw: Option<Text<'a>>,
    #[serde(default)]
    size: u64,
    #[serde(default, borrow)]
    payload: Option<Text<'a>>,
}

/// A string, borrowed if it has no escapes. (Serde borrows for a `Cow` field, not within an `Option`.)
#[derive(Deserialize, Default)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        let gzip = Gunzip::new(BufReader::with_capacity(BUFFER, input));
        Self {
            input: BufReader::with_capacity(BUFFER, gzip),
            line: Vec::new(),
            number: 0,
            segment: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    pub(super) fn next_item(&mut self) -> Result<Option<Item<'_>>> {
        self.line.clear();
        self.number += 1;
        let number = self.number;
        let len = (&mut self.input)
            .take(LINE)
            .read_until(b'\n', &mut self.line)
            .map_err(Error::read_tar_split)?;
        if len == 0 {
            return Ok(None);
        }
        if len as u64 == LINE {
            return Err(malformed(number, "too long"));
        }
        let line: Line<'_> =
            serde_json::from_slice(&self.line).map_err(|error| malformed(number, &error))?;
        item(line, &mut self.segment).map(Some).map_err(|reason| malformed(number, &reason))
    }
}

fn item<'a>(line: Line<'a>, segment: &'a mut Vec<u8>) -> Result<Item<'a>, String> {
    let bad_base64 = |error: base64::DecodeError| error.to_string();
    let payload = line.payload.unwrap_or_default().0;
    match line.kind {
        2 => {
            segment.clear();
            BASE64.decode_vec(&*payload, segment).map_err(bad_base64)?;
            Ok(Item::Segment(segment))
        }
        1 if line.size == 0 => Ok(Item::Entry),
        1 => {
            let crc = BASE64.decode(&*payload).map_err(bad_base64)?;
            let crc = crc.try_into().map_err(|_| "checksum is not of 8 bytes".to_owned())?;
            let name = match (line.name, line.name_raw) {
                (Some(Text(name)), _) if !name.is_empty() => match name {
                    Cow::Borrowed(name) => Cow::Borrowed(name.as_bytes()),
                    Cow::Owned(name) => Cow::Owned(name.into_bytes()),
                },
                (_, Some(Text(raw))) => Cow::Owned(BASE64.decode(&*raw).map_err(bad_base64)?),
                (_, None) => return Err("file without a name".to_owned()),
            };
            Ok(Item::File { name, size: line.size, crc })
        }
        kind => Err(format!("unknown type {kind}")),
    }
}

fn malformed(line: u64, reason: &(impl ToString + ?Sized)) -> Error {
    Error::MalformedTarSplit { line, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(write: impl FnOnce(&mut Writer<Vec<u8>>)) -> String {
        let mut writer = Writer::new(Vec::new());
        write(&mut writer);
        let mut text = String::new();
        let gzip = writer.finish().unwrap();
        Gunzip::new(&gzip[..]).read_to_string(&mut text).unwrap();
        text
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn writes_the_lines_of_containers_storage() {
        let text = lines(|writer| {
            writer.segment(b"").unwrap();
            writer.segment(b"abcd").unwrap();
            writer.entry(b"etc/").unwrap();
            writer.file("q\"\\\n\u{e4}".as_bytes(), 3, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
            writer.file(b"\xff", 0, [0; 8]).unwrap();
            writer.entry(b"").unwrap();
        });
        assert_eq!(
            text,
            concat!(
                r#"{"type":2,"payload":"YWJjZA==","position":0}"#,
                "\n",
                r#"{"type":1,"name":"etc/","payload":null,"position":1}"#,
                "\n",
                r#"{"type":1,"name":"q\"\\\nä","size":3,"payload":"AQIDBAUGBwg=","position":2}"#,
                "\n",
                r#"{"type":1,"name_raw":"/w==","payload":null,"position":3}"#,
                "\n",
                r#"{"type":1,"payload":null,"position":4}"#,
                "\n",
            )
        );
    }

    #[test]
    fn cuts_long_segments() {
        let long = vec![7; 2 * SEGMENT + 1];
        let text = lines(|writer| writer.segment(&long).unwrap());
        let gzip = gzip(&text);
        let mut reader = Reader::new(&gzip[..]);
        let mut read = Vec::new();
        while let Some(Item::Segment(bytes)) = reader.next_item().unwrap() {
            assert!(bytes.len() <= SEGMENT);
            read.extend_from_slice(bytes);
        }
        assert!(read == long);
    }

    #[test]
    fn reads_what_other_writers_write() {
        let gzip = gzip(concat!(
            r#"{"type":2,"payload":"YWI=","position":0}"#,
            "\n",
            r#"{"type":1,"name":"a\u003cb","size":3,"payload":"AQIDBAUGBwg=","position":1,"new":{}}"#,
            "\n",
            r#"{"position":2,"payload":"AQIDBAUGBwg=","size":1,"name_raw":"/w==","type":1}"#,
            "\n",
            r#"{"type":1,"name":"d/","payload":null,"position":3}"#,
            "\n",
            r#"{"type":2,"payload":"","position":4}"#,
        ));
        let mut reader = Reader::new(&gzip[..]);
        let crc = [1, 2, 3, 4, 5, 6, 7, 8];
        for expected in [
            Item::Segment(b"ab"),
            Item::File { name: Cow::Borrowed(b"a<b"), size: 3, crc },
            Item::File { name: Cow::Borrowed(b"\xff"), size: 1, crc },
            Item::Entry,
            Item::Segment(b""),
        ] {
            assert_eq!(reader.next_item().unwrap(), Some(expected));
        }
        assert_eq!(reader.next_item().unwrap(), None);
    }

    #[test]
    fn refuses_what_means_nothing() {
        for (line, reason) in [
            (r#"{"type":3,"payload":""}"#, "unknown type 3"),
            (r#"{"type":1,"size":1,"payload":"AQIDBAUGBwg="}"#, "file without a name"),
            (r#"{"type":1,"name":"a","size":1,"payload":"AQ=="}"#, "checksum is not of 8 bytes"),
            (r#"{"type":2,"payload":"!"}"#, "Invalid symbol 33, offset 0."),
            (r#"{"type":1,"name":"a","size":-1}"#, ""),
            ("[]", ""),
            ("\n", ""),
        ] {
            let gzip = gzip(line);
            let error = Reader::new(&gzip[..]).next_item().unwrap_err().to_string();
            assert!(error.starts_with("malformed tar-split, line 1: "), "{error}");
            assert!(error.contains(reason), "{error}");
        }
        let cut = gzip(r#"{"type":2,"payload":"YWI="}"#);
        let error = Reader::new(&cut[..cut.len() - 9]).next_item().unwrap_err();
        assert_eq!(error.to_string(), "reading tar-split");
    }
}
