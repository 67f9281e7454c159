//! One pass over the members of an archive.
//!
//! Layers arrive before the documents that say what they are, so a member is judged by its first
//! bytes: something compressed or a tar is taken for a layer and handed on at once; anything else
//! that is small is kept as a document. A layer that turns out not to be one is remembered with
//! its error, which matters only if an image lists it.

use std::collections::HashMap;
use std::io::{self, Read};

use bytes::Bytes;

use super::{Error, StageError};
use crate::layer::{Compression, EntryKind, TarReader};

/// What is kept of an archive before its end says what it means.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one document. The largest real ones are configs of images with huge labels.
    pub document: u64,
    /// Bytes of all documents together.
    pub documents: u64,
    /// Members of any kind.
    pub members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { document: 4 << 20, documents: 16 << 20, members: 100_000 }
    }
}

/// The members of an archive.
#[derive(Debug)]
pub struct Members<L> {
    members: HashMap<String, Member<L>>,
}

impl<L> Default for Members<L> {
    fn default() -> Self {
        Self { members: HashMap::new() }
    }
}

#[derive(Debug)]
pub(super) enum Member<L> {
    Document(Bytes),
    /// Apart, as there may be many members that are nothing of the kind.
    Layer(Box<L>),
    /// Looked like a layer; the error is taken by the first image that lists it.
    Broken(crate::layer::Error),
    /// Neither a layer nor small.
    Opaque,
    /// A link to another member.
    Link(String),
    /// Looked for, and not there.
    Absent,
}

/// Links may lead to links; more than this is a loop.
const MAX_LINKS: usize = 4;

/// Walks the archive in `input`, which must be uncompressed, to its end. `stage` gets the content
/// of each layer, in the order of the archive.
pub fn scan<R, L, E>(
    input: R,
    limits: &Limits,
    mut stage: impl FnMut(&mut (dyn Read + Send)) -> Result<L, StageError<E>>,
) -> Result<Members<L>, E>
where
    R: Read + Send,
    E: From<Error>,
{
    let mut tar = TarReader::new(input);
    let mut members = HashMap::new();
    let mut kept = Kept::default();
    while let Some(mut entry) = tar.next_entry().map_err(Error::Read)? {
        let Some(name) = entry.name_str().and_then(clean) else {
            // No format names a member like this, so no image can list it.
            continue;
        };
        let member = match entry.kind {
            EntryKind::Symlink => link(&name, entry.link_str(), true),
            EntryKind::HardLink => link(&name, entry.link_str(), false),
            EntryKind::Regular => {
                let size = entry.size;
                Some(member(&mut entry, size, limits, &mut kept, &mut stage)?)
            }
            _ => None,
        };
        let Some(member) = member else { continue };
        if members.len() >= limits.members {
            return Err(
                Error::Limit { what: "number of members", limit: limits.members as u64 }.into()
            );
        }
        if members.insert(name.clone(), member).is_some() {
            // Readers differ in which of the two they take; we take neither.
            return Err(Error::Malformed(format!("archive member {name:?} occurs twice")).into());
        }
    }
    // Only the end of the stream tells a whole archive from one whose sender has given up.
    io::copy(tar.rest(), &mut io::sink()).map_err(broken)?;
    Ok(Members { members })
}

/// Bytes of all documents that are kept so far.
#[derive(Debug, Default)]
pub(super) struct Kept(u64);

/// What a file of `size` bytes is.
pub(super) fn member<L, E: From<Error>>(
    content: &mut (impl Read + Send),
    size: u64,
    limits: &Limits,
    Kept(kept): &mut Kept,
    stage: &mut impl FnMut(&mut (dyn Read + Send)) -> Result<L, StageError<E>>,
) -> Result<Member<L>, E> {
    let mut start = Vec::with_capacity(512);
    content.take(512).read_to_end(&mut start).map_err(broken)?;
    if looks_like_layer(&start) {
        let mut content = start.as_slice().chain(content);
        return match stage(&mut content) {
            Ok(layer) => Ok(Member::Layer(Box::new(layer))),
            Err(StageError::Content(error)) => Ok(Member::Broken(error)),
            Err(StageError::Fatal(error)) => Err(error),
        };
    }
    if size > limits.document {
        return Ok(Member::Opaque);
    }
    *kept += size;
    if *kept > limits.documents {
        let what = "size of all documents";
        return Err(Error::Limit { what, limit: limits.documents }.into());
    }
    // A file may have grown since its length was asked for.
    content.take(limits.document).read_to_end(&mut start).map_err(broken)?;
    // What it has room for besides would be kept as well, of every empty member.
    start.shrink_to_fit();
    Ok(Member::Document(start.into()))
}

fn broken(error: io::Error) -> Error {
    Error::Read(error.into())
}

impl<L> Members<L> {
    /// The content of a small member.
    pub fn document(&self, name: &str) -> Option<&Bytes> {
        match self.find(name)? {
            Member::Document(content) => Some(content),
            _ => None,
        }
    }

    /// Whether there is a member of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether a member of that name is there or has been looked for.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The layer that a member turned into.
    pub fn layer(&self, name: &str) -> Result<&L, Error> {
        match self.find(name) {
            Some(Member::Layer(layer)) => Ok(layer),
            Some(Member::Broken(error)) => {
                Err(Error::BadLayer { member: name.to_owned(), source: error.clone() })
            }
            Some(_) => Err(Error::Malformed(format!("{name} is not a layer"))),
            None => Err(Error::MissingLayer),
        }
    }

    /// Adds a member.
    pub(super) fn insert(&mut self, name: String, member: Member<L>) {
        self.members.insert(name, member);
    }

    /// All layers, also those no image listed.
    pub fn into_layers(self) -> Vec<L> {
        let layer = |member| match member {
            Member::Layer(layer) => Some(*layer),
            _ => None,
        };
        self.members.into_values().filter_map(layer).collect()
    }

    fn find(&self, name: &str) -> Option<&Member<L>> {
        let mut name = clean(name)?;
        for _ in 0..=MAX_LINKS {
            match self.members.get(&name)? {
                Member::Link(target) => name.clone_from(target),
                Member::Absent => return None,
                member => return Some(member),
            }
        }
        None
    }
}

/// A member name without `.`, empty and `..` components; `None` for one that leaves the archive.
fn clean(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Symlinks are relative to their directory, hard links to the archive.
fn link<L>(name: &str, target: Option<&str>, relative: bool) -> Option<Member<L>> {
    let target = target?;
    let path = match name.rsplit_once('/') {
        Some((directory, _)) if relative => format!("{directory}/{target}"),
        _ => target.to_owned(),
    };
    clean(&path).map(Member::Link)
}

/// Whether a member's first bytes are those of something compressed, of a tar, or of an empty one.
fn looks_like_layer(start: &[u8]) -> bool {
    if Compression::detect(start) != Compression::None {
        return true;
    }
    let Some(header) = start.first_chunk::<512>() else { return false };
    if header.iter().all(|&byte| byte == 0) {
        return true;
    }
    let header = tar::Header::from_byte_slice(header);
    let stated = header.cksum().ok();
    // The checksum field itself counts as spaces.
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|&byte| u32::from(byte)).sum();
    stated == Some(sum + 8 * u32::from(b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_fenced() {
        for (name, cleaned) in [
            ("./manifest.json", Some("manifest.json")),
            ("a//b/", Some("a/b")),
            ("a/../b", Some("b")),
            ("../b", None),
            ("/etc/passwd", Some("etc/passwd")),
            ("./", None),
        ] {
            assert_eq!(clean(name).as_deref(), cleaned, "{name}");
        }
    }

    #[test]
    fn layers_are_told_by_their_first_bytes() {
        let mut header = tar::Header::new_ustar();
        header.set_path("etc/").unwrap();
        header.set_size(0);
        header.set_cksum();
        assert!(looks_like_layer(header.as_bytes()));
        assert!(looks_like_layer(&[0; 512]));
        assert!(looks_like_layer(b"\x1f\x8b\x08\x00"));
        assert!(!looks_like_layer(b"{\"schemaVersion\":2}"));
        assert!(!looks_like_layer(&[b'{'; 512]));
        assert!(!looks_like_layer(b""));
    }
}
