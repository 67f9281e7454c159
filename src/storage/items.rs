//! Data items of images that are about to be stored: written before the locks are taken, moved into
//! place under them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Error;
use super::bigdata::file_name;
use super::dir::Dir;
use super::overlay::{IMAGES, LAYERS, Tree};
use super::record::ImageRecord;
use super::tempdir::{Area, TempDir};
use crate::image::{Digest, ImageId};

/// Items in a temporary directory.
#[derive(Debug)]
pub(super) struct Items {
    directory: TempDir,
    staged: Vec<Item>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Item {
    image: ImageId,
    pub(super) key: String,
    pub(super) size_bytes: i64,
    pub(super) digest: Digest,
}

impl Items {
    /// Writes all items of these images. They are not synced yet.
    pub(super) fn write<'a>(
        tree: &Tree,
        images: impl IntoIterator<Item = (&'a ImageId, &'a [(String, Bytes)])>,
    ) -> Result<Self, Error> {
        let directory = TempDir::create(&tree.layers, Area::Files)?;
        let open = directory.open()?;
        let mut staged = Vec::new();
        for (image, items) in images {
            for (key, content) in items {
                open.write_new(staged_name(staged.len()), content, 0o600)?;
                let size_bytes = i64::try_from(content.len()).map_err(|error| {
                    Error::io("measuring", open.path())(std::io::Error::other(error))
                })?;
                staged.push(Item {
                    image: image.clone(),
                    key: key.clone(),
                    size_bytes,
                    digest: Digest::of(content),
                });
            }
        }
        Ok(Self { directory, staged })
    }

    /// The items of one image, in the order they were given.
    pub(super) fn of<'a>(&'a self, image: &'a ImageId) -> impl Iterator<Item = &'a Item> {
        self.staged.iter().filter(move |item| item.image == *image)
    }

    /// Waits until the items are on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let directory = self.directory.open()?;
        for at in 0..self.staged.len() {
            let name = staged_name(at);
            if let Some(file) = directory.open_file(&name)? {
                file.sync_data().map_err(Error::io("syncing", directory.path().join(&name)))?;
            }
        }
        Ok(())
    }

    /// Leaves the temporary directory to recovery.
    pub(super) fn leave(&self) {
        self.directory.leave();
    }

    /// The temporary directory.
    pub(super) fn directory(&self) -> Result<Dir, Error> {
        self.directory.open()
    }

    /// Moves all items to where they belong, and with `barriers` waits until they are there on disk, too.
    /// Called with the images' lock held.
    pub(super) fn publish(&self, tree: &Tree, barriers: bool) -> Result<(), Error> {
        let images = tree.root.sub(IMAGES)?;
        let mut touched = BTreeSet::new();
        for (at, item) in self.staged.iter().enumerate() {
            if touched.insert(item.image.as_str()) {
                images.ensure(item.image.as_str(), 0o700)?;
            }
            let from = format!("{LAYERS}/{}", self.directory.path_of(&staged_name(at)));
            tree.root.rename(from, format!("{IMAGES}/{}/{}", item.image, file_name(&item.key)))?;
        }
        if barriers {
            for image in touched {
                images.sub_nofollow(image)?.sync()?;
            }
        }
        Ok(())
    }
}

fn staged_name(at: usize) -> String {
    format!("{at}-item")
}

/// Enters an item into its image's record; one with the same key is replaced.
pub(super) fn enter(image: &mut ImageRecord, item: &Item) {
    if !image.big_data_names.contains(&item.key) {
        image.big_data_names.push(item.key.clone());
    }
    image.big_data_sizes.insert(item.key.clone(), item.size_bytes);
    image.big_data_digests.insert(item.key.clone(), item.digest.clone());
}
