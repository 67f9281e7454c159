//! Names of entries as paths below a layer's root.

use super::error::lossy;
use super::{Error, Limits, Result};

/// A cleaned path below a root: components joined by single slashes, none of them `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TreePath {
    bytes: Vec<u8>,
    /// Where the last component begins.
    leaf: usize,
}

impl TreePath {
    /// Cleans a name: `./a//b/` and `/a/b` are `a/b`. `None` is the root itself.
    ///
    /// Go would let `..` through, stopped at the root; no builder writes it, and the Go tools cannot
    /// export such a layer again.
    pub(super) fn parse(name: &[u8], limits: &Limits) -> Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(name.len());
        let mut leaf = 0;
        let mut depth = 0;
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(Error::Name { name: lossy(name) }),
                _ if component.contains(&0) => return Err(Error::Name { name: lossy(name) }),
                _ => {}
            }
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            leaf = bytes.len();
            bytes.extend_from_slice(component);
            depth += 1;
        }
        if depth > limits.depth {
            let limit = limits.depth as u64;
            return Err(Error::Limit { what: "directories in one name", limit });
        }
        Ok((!bytes.is_empty()).then_some(Self { bytes, leaf }))
    }

    /// The path as it is given to the kernel or shown.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last component.
    pub(super) fn leaf(&self) -> &[u8] {
        self.bytes.get(self.leaf..).unwrap_or_default()
    }

    /// All but the last component; empty for the root.
    pub(super) fn parent(&self) -> &[u8] {
        self.bytes.get(..self.leaf.saturating_sub(1)).unwrap_or_default()
    }

    /// Every directory above, from the top.
    pub(super) fn parents(&self) -> impl Iterator<Item = Self> {
        let slashes = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut leaf = 0;
        slashes.map(move |(end, _)| {
            let bytes = self.bytes.get(..end).unwrap_or_default().to_vec();
            Self { bytes, leaf: std::mem::replace(&mut leaf, end + 1) }
        })
    }

    /// The path `leaf` beside this one.
    pub(super) fn sibling(&self, leaf: &[u8]) -> Self {
        let mut bytes = self.bytes.get(..self.leaf).unwrap_or_default().to_vec();
        bytes.extend_from_slice(leaf);
        Self { bytes, leaf: self.leaf }
    }
}

/// Components of a cleaned path; none for the root.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &[u8]) -> Result<Option<TreePath>> {
        TreePath::parse(name, &Limits { depth: 3, ..Limits::default() })
    }

    #[test]
    fn cleans_names() {
        for (name, parent, leaf) in [
            (&b"a"[..], &b""[..], &b"a"[..]),
            (b"./a", b"", b"a"),
            (b"/a//b/./c/", b"a/b", b"c"),
            (b"...", b"", b"..."),
            (b"\xff/\xfe", b"\xff", b"\xfe"),
        ] {
            let path = parse(name).unwrap().unwrap();
            assert_eq!((path.parent(), path.leaf()), (parent, leaf));
        }
        for root in [&b""[..], b".", b"./", b"/", b"//./"] {
            assert_eq!(parse(root).unwrap(), None);
        }
        let path = parse(b"a/bc/d").unwrap().unwrap();
        let parents: Vec<_> = path.parents().collect();
        assert_eq!(parents, [parse(b"a").unwrap().unwrap(), parse(b"a/bc").unwrap().unwrap()]);
        assert_eq!(parse(b"a/b").unwrap().unwrap().sibling(b"c").as_bytes(), b"a/c");
        assert_eq!(parse(b"b").unwrap().unwrap().sibling(b"c").as_bytes(), b"c");
    }

    #[test]
    fn refuses_what_leads_out() {
        for (name, message) in [
            (&b"../a"[..], "invalid name \"../a\" in layer"),
            (b"a/../../b", "invalid name \"a/../../b\" in layer"),
            (b"..", "invalid name \"..\" in layer"),
            (b"a\0b", "invalid name \"a\\0b\" in layer"),
            (b"a/b/c/d", "layer exceeds the limit of 3 directories in one name"),
        ] {
            assert_eq!(parse(name).unwrap_err().to_string(), message);
        }
    }
}
