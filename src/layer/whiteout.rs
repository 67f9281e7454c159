//! Names that stand for deletions.
//!
//! A tar cannot say that something of the layers below is gone, so names do: `dir/.wh.NAME` deletes
//! `dir/NAME`, `dir/.wh..wh..opq` deletes all that is in `dir`. Overlayfs has its own forms for both.

use super::error::lossy;
use super::name::TreePath;
use super::{Error, Result};

/// Begins the name of every whiteout.
const PREFIX: &[u8] = b".wh.";

const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// One path.
    Deleted(TreePath),
    /// Everything the layers below have in this directory.
    Opaque {
        /// Path of the directory, empty for the root.
        directory: Vec<u8>,
    },
}

/// Whether a name is that of a whiteout of any kind.
pub(super) fn is_whiteout(path: &TreePath) -> bool {
    path.leaf().starts_with(PREFIX)
}

impl Whiteout {
    /// Whether `path` is a whiteout, and of what.
    pub(super) fn parse(path: &TreePath) -> Result<Option<Self>> {
        let Some(target) = path.leaf().strip_prefix(PREFIX) else { return Ok(None) };
        match target {
            _ if path.leaf() == OPAQUE => {
                Ok(Some(Self::Opaque { directory: path.parent().to_vec() }))
            }
            // The directory itself, or the one above.
            b"" | b"." | b".." => Err(Error::Name { name: lossy(path.as_bytes()) }),
            _ => Ok(Some(Self::Deleted(path.sibling(target)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Limits;

    fn path(name: &[u8]) -> TreePath {
        TreePath::parse(name, &Limits::default()).unwrap().unwrap()
    }

    #[test]
    fn tells_whiteouts_from_files() {
        for (name, whiteout) in [
            (&b"a/.wh.b"[..], Some(Whiteout::Deleted(path(b"a/b")))),
            (b".wh.b/", Some(Whiteout::Deleted(path(b"b")))),
            (b"a/.wh..wh..opq", Some(Whiteout::Opaque { directory: b"a".to_vec() })),
            (b".wh..wh..opq", Some(Whiteout::Opaque { directory: Vec::new() })),
            (b"a/.wh..wh.plnk", Some(Whiteout::Deleted(path(b"a/.wh.plnk")))),
            (b"a/.wh....", Some(Whiteout::Deleted(path(b"a/...")))),
            (b".wh.a/b", None),
            (b"a/x.wh.b", None),
            (b"a/.whb", None),
        ] {
            assert_eq!(Whiteout::parse(&path(name)).unwrap(), whiteout);
        }
    }

    #[test]
    fn refuses_to_delete_directories_above() {
        for name in [&b"a/.wh."[..], b"a/.wh..", b"a/.wh..."] {
            assert!(Whiteout::parse(&path(name)).is_err());
        }
    }
}
