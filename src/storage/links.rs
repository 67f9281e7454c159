//! The files in a layer's directory that say what is below it: `link`, `lower`, `lower-layers`.
//!
//! Older tools need `link`, the symbolic link of that name in `l/`, and `lower`; newer ones need
//! `lower-layers`. All are written.

use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};

use super::Error;
use super::dir::Dir;
use super::lock::fill_random;
use super::overlay::{Location, OVERLAY};
use super::store::Inner;
use super::trash::is_link_name;
use super::{StoredLayer, staging};
use crate::image::LayerId;

/// Most layers below one, as in containers/storage.
const MAX_LOWERS: usize = 500;
/// Longest of these files, in bytes: 500 IDs with their separators are 33 kB.
const LIMIT_BYTES: u64 = 1 << 20;

/// What a child must know of the layer below it.
#[derive(Debug, Clone)]
pub(super) struct Below {
    /// Content of the child's `lower`: links of all layers below it, nearest first.
    lower: String,
    /// Content of the child's `lower-layers`; `None` if it cannot be known.
    lower_layers: Option<String>,
    /// Mode, owner and group of the child's root.
    root: (u32, u32, u32),
}

impl Below {
    /// For children of a layer that is in the store.
    pub(super) fn existing(inner: &Inner, stored: &StoredLayer) -> Result<Self, Error> {
        let id = &stored.record.id;
        let overlay = Dir::open(&stored.graph_root.join(OVERLAY))?;
        let directory = overlay.sub_nofollow(id.as_str())?;
        check_kind(&directory, id)?;
        let unsupported = |reason| Error::UnsupportedLayer { layer: id.clone(), reason };
        if stored.record.uid_map.is_some() || stored.record.gid_map.is_some() {
            return Err(unsupported("its files have mapped owners"));
        }
        let link = directory
            .read_text("link", LIMIT_BYTES)?
            .filter(|link| is_link_name(link))
            .ok_or_else(|| unsupported("it has no valid link file"))?;
        let root =
            directory.stat("diff")?.ok_or_else(|| unsupported("it has no content directory"))?;
        let lower = directory.read_text("lower", LIMIT_BYTES)?;
        let below = match &lower {
            None => Some(Vec::new()),
            Some(_) => match lower_layers(inner, &overlay, &directory) {
                Ok(below) => Some(below),
                // A link is gone. Older tools restore it when they need it.
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            },
        };
        let lower_layers = below.map(|below| {
            let ids = std::iter::once(id).chain(&below).map(LayerId::as_str);
            ids.collect::<Vec<_>>().join(":")
        });
        Ok(Self {
            lower: join(&format!("l/{link}"), lower.as_deref()),
            lower_layers,
            root: (root.st_mode & 0o7777, root.st_uid, root.st_gid),
        })
    }

    /// For children of a layer that will have this link and these layers below it.
    pub(super) fn planned(
        id: &LayerId,
        link: &str,
        below: Option<&Self>,
        own_root: (u32, u32, u32),
    ) -> Self {
        let lower_layers = match below {
            None => Some(id.to_string()),
            Some(below) => {
                below.lower_layers.as_deref().map(|below| join(id.as_str(), Some(below)))
            }
        };
        Self {
            lower: join(&format!("l/{link}"), below.map(|below| below.lower.as_str())),
            lower_layers,
            root: own_root,
        }
    }

    pub(super) fn root(&self) -> (u32, u32, u32) {
        self.root
    }
}

pub(super) fn join(first: &str, rest: Option<&str>) -> String {
    match rest {
        Some(rest) if !rest.is_empty() => format!("{first}:{rest}"),
        _ => first.to_owned(),
    }
}

/// Completes the directory of a staged layer. Can be repeated, with other layers below it.
pub(super) fn write(directory: &Dir, link: &str, below: Option<&Below>) -> Result<(), Error> {
    for name in ["link", "lower", "lower-layers"] {
        directory.unlink(name)?;
    }
    directory.rmdir("empty")?;
    directory.write_new("link", link.as_bytes(), 0o644)?;
    directory.ensure("work", 0o700)?;
    directory.ensure("merged", 0o700)?;
    let (mode, uid, gid) = match below {
        None => {
            directory.mkdir("empty", 0o700)?;
            own_root()
        }
        Some(below) => {
            if below.lower.split(':').count() > MAX_LOWERS {
                return Err(Error::TooDeep { max: MAX_LOWERS });
            }
            directory.write_new("lower", below.lower.as_bytes(), 0o644)?;
            if let Some(lower_layers) = &below.lower_layers {
                directory.write_new("lower-layers", lower_layers.as_bytes(), 0o644)?;
            }
            below.root
        }
    };
    let diff = directory.sub_nofollow("diff")?;
    let failed = |errno: rustix::io::Errno| {
        Error::io("setting owner and mode of", diff.path())(errno.into())
    };
    if (uid, gid) != (own_root().1, own_root().2) {
        rustix::fs::fchown(&diff, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(failed)?;
    }
    rustix::fs::fchmod(&diff, Mode::from_raw_mode(mode)).map_err(failed)
}

/// Mode, owner and group of a base layer's root.
pub(super) fn own_root() -> (u32, u32, u32) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    (staging::ROOT_MODE, uid.as_raw(), gid.as_raw())
}

/// A name for a link: 26 characters of Base32.
pub(super) fn new_name(at: &Path) -> Result<String, Error> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = [0; 26];
    fill_random(&mut random).map_err(Error::io("naming a link in", at))?;
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Refuses layers whose content is not simply in `diff`.
pub(super) fn check_kind(directory: &Dir, layer: &LayerId) -> Result<(), Error> {
    for (name, reason) in [
        ("composefs-data", "its content is a composefs image"),
        ("additionallayer", "it comes from an additional layer store"),
    ] {
        if directory.stat(name)?.is_some() {
            return Err(Error::UnsupportedLayer { layer: layer.clone(), reason });
        }
    }
    Ok(())
}

/// The layers below the one in `directory`, nearest first: from `lower-layers`, or, for layers made
/// by older tools, by way of the links. The records' parents can be others.
pub(super) fn lower_layers(
    inner: &Inner,
    overlay: &Dir,
    directory: &Dir,
) -> Result<Vec<LayerId>, Error> {
    let invalid = |name: &str| {
        let path = directory.path().join(name);
        Error::io("reading", path)(std::io::ErrorKind::InvalidData.into())
    };
    if let Some(text) = directory.read_text("lower-layers", LIMIT_BYTES)? {
        let ids = text.trim().split(':').filter(|id| !id.is_empty());
        return ids.map(|id| id.parse().map_err(|_| invalid("lower-layers"))).collect();
    }
    let Some(text) = directory.read_text("lower", LIMIT_BYTES)? else { return Ok(Vec::new()) };
    let mut layers = Vec::new();
    for name in text.trim().split(':').filter(|name| !name.is_empty()) {
        let link = name.strip_prefix("l/").filter(|link| is_link_name(link));
        let link = link.ok_or_else(|| invalid("lower"))?;
        layers.push(resolve(inner, overlay, link)?);
    }
    Ok(layers)
}

/// The layer that a link leads to, in this store or another.
fn resolve(inner: &Inner, overlay: &Dir, link: &str) -> Result<LayerId, Error> {
    let path = format!("l/{link}");
    let mut target = overlay.read_link(&path)?;
    for location in inner.locations() {
        if target.is_some() {
            break;
        }
        if let Ok(overlay) = Dir::open(&location.graph_root.join(OVERLAY)) {
            target = overlay.read_link(&path)?;
        }
    }
    let failed =
        |kind: std::io::ErrorKind| Error::io("resolving", overlay.path().join(&path))(kind.into());
    let target = target.ok_or_else(|| failed(std::io::ErrorKind::NotFound))?;
    target
        .to_str()
        .ok()
        .and_then(|target| target.strip_prefix("../")?.strip_suffix("/diff")?.parse().ok())
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidData))
}

impl Inner {
    /// All stores, the primary one first.
    pub(super) fn locations(&self) -> impl Iterator<Item = &Location> {
        std::iter::once(&self.primary).chain(&self.additional)
    }

    /// The store that a layer is in.
    pub(super) fn location_of(&self, stored: &StoredLayer) -> &Location {
        let found = self.locations().find(|location| location.graph_root == stored.graph_root);
        found.unwrap_or(&self.primary)
    }

    /// The directory of a layer in the first store that has it.
    pub(super) fn find_directory(&self, layer: &LayerId) -> Result<Dir, Error> {
        for location in self.locations() {
            match Dir::open(&location.graph_root.join(OVERLAY).join(layer.as_str())) {
                Err(error) if error.is_not_found() => {}
                result => return result,
            }
        }
        Err(Error::LayerNotKnown { layer: layer.clone() })
    }
}
