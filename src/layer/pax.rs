//! PAX extended headers: records of the form `length key=value\n` that override fields of the header
//! behind them.
//!
//! A value may hold any byte, so records are found by their length alone. Rules are those of Go's
//! `archive/tar`: the last record of a key counts, an empty value means the header's own.

use super::entries::Time;
use super::header::Reason;

const BAD_RECORD: Reason = "malformed PAX record";
const BAD_SPARSE: Reason = "malformed GNU.sparse record";

/// Prefix of records that hold extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records that matter for layers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    /// Names without their prefix, in order, each once.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// What describes a sparse file, in any of GNU tar's three PAX formats.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) major: Vec<u8>,
    pub(super) minor: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) size: Option<u64>,
    pub(super) real_size: Option<u64>,
    pub(super) count: Option<u64>,
    /// Offsets and lengths alternating: of version 0.1 from one record, of 0.0 from many.
    pub(super) map: Vec<u64>,
}

/// Reads all records of an extended header.
pub(super) fn parse(mut rest: &[u8], limits: &super::Limits) -> Result<Records, Error> {
    let mut records = Records::default();
    while !rest.is_empty() {
        let (key, value);
        (key, value, rest) = split_record(rest).ok_or(Error::Invalid(BAD_RECORD))?;
        records.add(key, value)?;
        if records.xattrs.len() > limits.xattrs {
            return Err(Error::Limit("extended attributes of one entry", limits.xattrs));
        }
        if records.sparse.map.len() / 2 > limits.sparse_regions {
            return Err(Error::Limit("regions of one sparse file", limits.sparse_regions));
        }
    }
    Ok(records)
}

/// Why records cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    Invalid(Reason),
    Limit(&'static str, usize),
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}

/// Key, value and what follows the first record.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
    let without_nul = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    (!key.is_empty() && !without_nul.contains(&0)).then_some((key, value, bytes.get(len..)?))
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match key {
            b"path" => self.path = non_empty(value),
            b"linkpath" => self.link = non_empty(value),
            b"size" => self.size = optional(value, signed)?,
            b"uid" => self.uid = optional(value, signed)?,
            b"gid" => self.gid = optional(value, signed)?,
            b"mtime" => self.mtime = optional(value, time)?,
            b"atime" => self.atime = optional(value, time)?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.set_xattr(name, value);
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.add(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        match self.xattrs.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_vec(),
            None => self.xattrs.push((name.to_vec(), value.to_vec())),
        }
    }
}

impl SparseRecords {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let number = || decimal(value).ok_or(BAD_SPARSE);
        match key {
            b"major" => self.major = value.to_vec(),
            b"minor" => self.minor = value.to_vec(),
            b"name" => self.name = value.to_vec(),
            b"size" => self.size = Some(number()?),
            b"realsize" => self.real_size = Some(number()?),
            b"numblocks" => self.count = Some(number()?),
            b"map" => {
                self.map = value
                    .split(|byte| *byte == b',')
                    .map(|number| decimal(number).ok_or(BAD_SPARSE))
                    .collect::<Result<_, _>>()?;
            }
            b"offset" if self.map.len().is_multiple_of(2) => self.map.push(number()?),
            b"numbytes" if !self.map.len().is_multiple_of(2) => self.map.push(number()?),
            b"offset" | b"numbytes" => return Err(BAD_SPARSE),
            _ => {}
        }
        Ok(())
    }
}

fn non_empty(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn optional<T>(value: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Reason> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some).ok_or(BAD_RECORD) }
}

/// Digits only, at most what fits.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(decimal(digits)?),
        None => i64::try_from(decimal(text)?).ok(),
    }
}

/// Seconds with an optional fraction, of which nine digits count.
fn time(text: &[u8]) -> Option<Time> {
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..)?),
        None => (text, &[][..]),
    };
    let whole = signed(seconds)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    let nanos = u32::try_from(decimal(&digits)?).ok()?;
    if nanos != 0 && seconds.starts_with(b"-") {
        return Some(Time { seconds: whole.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Time { seconds: whole, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Limits;

    fn read(bytes: &[u8]) -> Result<Records, Error> {
        parse(bytes, &Limits::default())
    }

    /// Records with their lengths, which count themselves.
    fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            let body = key.len() + value.len() + 3;
            let digits = (1..).find(|digits| (body + digits).to_string().len() == *digits).unwrap();
            bytes.extend_from_slice(format!("{} {key}=", body + digits).as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn overrides_fields() {
        let bytes = records(&[
            ("path", b"a/b"),
            ("linkpath", b"x\ny=z/"),
            ("uid", b"1"),
            ("gid", b"-2"),
            ("size", b"77"),
            ("gid", b""),
            ("mtime", b"1350244992.023960108"),
            ("atime", b"-1.25"),
            ("comment", &[b'c'; 200]),
        ]);
        let expected = Records {
            path: Some(b"a/b".to_vec()),
            link: Some(b"x\ny=z/".to_vec()),
            size: Some(77),
            uid: Some(1),
            gid: None,
            mtime: Some(Time { seconds: 1_350_244_992, nanos: 23_960_108 }),
            atime: Some(Time { seconds: -2, nanos: 750_000_000 }),
            ..Records::default()
        };
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn xattr_values_hold_any_byte_and_the_last_counts() {
        let bytes = records(&[
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.user.a", b"\0\n=\xff"),
            ("SCHILY.xattr.user.b", b""),
        ]);
        assert_eq!(
            read(&bytes).unwrap().xattrs,
            [(b"user.a".to_vec(), b"\0\n=\xff".to_vec()), (b"user.b".to_vec(), vec![])]
        );
    }

    #[test]
    fn refuses_what_is_malformed() {
        for bytes in [
            &b"8 uid=1"[..],
            b"7 uid=1\n",
            b"9 uid=1\n",
            b"99999999999999999999999 a=b\n",
            b"-8 uid=1\n",
            b"uid=1\n",
            b"6 uid1\n",
            b"5 =1\n",
            b"8 u\0d=1\n",
            b"11 path=\0x\n",
            b"9 uid=1x\n",
            b"10 mtime=.\n",
            b"14 mtime=1.2x\n",
            b"0 a=b\n",
            b" ",
            b"25 GNU.sparse.numbytes=1\n",
        ] {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bounds_the_number_of_attributes() {
        let names: Vec<String> = (0..4).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b"v"[..])).collect();
        let limits = Limits { xattrs: 3, ..Limits::default() };
        assert_eq!(
            parse(&records(&many), &limits),
            Err(Error::Limit("extended attributes of one entry", 3))
        );
    }

    #[test]
    fn collects_both_forms_of_sparse_maps() {
        let old = records(&[("GNU.sparse.offset", b"0"), ("GNU.sparse.numbytes", b"5")]);
        assert_eq!(read(&old).unwrap().sparse.map, [0, 5]);
        let new = records(&[("GNU.sparse.map", b"0,5,9,1"), ("GNU.sparse.size", b"1000")]);
        let sparse = read(&new).unwrap().sparse;
        assert_eq!((sparse.map, sparse.size), (vec![0, 5, 9, 1], Some(1000)));
    }
}
