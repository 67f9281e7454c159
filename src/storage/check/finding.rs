//! What can be wrong with a store, in words for people and for programs.

use std::fmt;
use std::path::PathBuf;

use crate::image::{ImageId, LayerId};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something cannot be used, or tools stumble over it.
    Error,
    /// Something is left over, or not as tools leave it, and nothing is lost by it.
    Warning,
}

impl Severity {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A file of records can be read.
    Records,
    /// An ID is that of one record.
    UniqueIds,
    /// A name is that of one record.
    UniqueNames,
    /// Nobody has died while making or removing a layer.
    CompleteLayers,
    /// What a layer is built on is there.
    Parents,
    /// Somebody needs a layer.
    UsedLayers,
    /// A layer has its directory, with its content.
    Directories,
    /// A layer has a link, and says which.
    Links,
    /// A layer says what is below it, and it is what the records say.
    Lowers,
    /// A layer that was a tar can become it again.
    TarSplits,
    /// Data items are there, with their lengths and digests.
    Items,
    /// The content of a layer is what its digest says.
    Content,
    /// The layers of images are there.
    ImageLayers,
    /// An image has a manifest.
    Manifests,
    /// The image and the layer of a container are there.
    Containers,
    /// What is on disk belongs to a record.
    Orphans,
    /// Temporary files and directories have a living owner.
    Temporaries,
    /// Files can be read.
    Readable,
}

impl Rule {
    /// A name that does not change.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::UniqueIds => "unique-ids",
            Self::UniqueNames => "unique-names",
            Self::CompleteLayers => "complete-layers",
            Self::Parents => "parents",
            Self::UsedLayers => "used-layers",
            Self::Directories => "directories",
            Self::Links => "links",
            Self::Lowers => "lowers",
            Self::TarSplits => "tar-splits",
            Self::Items => "items",
            Self::Content => "content",
            Self::ImageLayers => "image-layers",
            Self::Manifests => "manifests",
            Self::Containers => "containers",
            Self::Orphans => "orphans",
            Self::Temporaries => "temporaries",
            Self::Readable => "readable",
        }
    }
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The store as a whole.
    Store,
    /// A layer.
    Layer(LayerId),
    /// An image.
    Image(ImageId),
    /// A container, by its ID.
    Container(String),
}

impl Subject {
    /// Layer, image, container or store.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Layer(_) => "layer",
            Self::Image(_) => "image",
            Self::Container(_) => "container",
        }
    }

    /// Its ID, unless it is the store.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Store => None,
            Self::Layer(id) => Some(id.as_str()),
            Self::Image(id) => Some(id.as_str()),
            Self::Container(id) => Some(id),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            Some(id) => write!(f, "{} {id}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule that is broken.
    pub rule: Rule,
    /// What it is about.
    pub subject: Subject,
    /// Where it is, relative to the graph root.
    pub path: PathBuf,
    /// What is wrong, without the subject.
    pub why: String,
    /// What can be done.
    pub(in crate::storage) cure: Cure,
}

impl Finding {
    /// Whether another look has found the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.subject == other.subject && self.path == other.path
    }

    /// What a repair does about it.
    pub fn cure(&self) -> &str {
        match &self.cure {
            Cure::ByHand(hint) => hint,
            Cure::Load => "whatever opens the store next to write does that",
            Cure::LostLayer => "the layer is lost; it goes with the images that need it",
            Cure::LostImage => "the image is lost",
            Cure::UnusedLayer => "nothing, unless --unused-layers is given: the layer is good",
            Cure::Fix(fix) => fix.as_str(),
        }
    }
}

/// What can be done about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Cure {
    /// Nothing here; for people to decide.
    ByHand(&'static str),
    /// Opening the store to write repairs it, with this tool as with others.
    Load,
    /// The layer cannot be used any more, nor what is built on it.
    LostLayer,
    /// The image cannot be used any more.
    LostImage,
    /// The layer is good, and nobody needs it.
    UnusedLayer,
    /// It can be put right by itself.
    Fix(Fix),
}

/// Something that can be put right without a loss: by making what can be made again, or removing
/// what nobody has a record of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Fix {
    /// Makes the link of a layer.
    MakeLink { layer: LayerId, link: String },
    /// Writes into a layer's directory which link it has, and makes the link if it is not there.
    WriteLink { layer: LayerId, link: String },
    /// Writes into a layer's directory which layers are below it.
    WriteLower { layer: LayerId, lower: String },
    /// The same, as newer tools look for it.
    WriteLowerLayers { layer: LayerId, lower_layers: String },
    /// Makes an empty directory in that of a layer.
    MakeDirectory { layer: LayerId, name: &'static str },
    /// Takes a missing layer off the list of an image's copies.
    ForgetCopy { image: ImageId, layer: LayerId },
    /// Writes a data item again, from another one that has the same content.
    RestoreItem { image: ImageId, key: String, twin: String },
    /// Removes what is left of a layer without a record.
    DiscardLayer { layer: LayerId },
    /// Removes the data of an image without a record.
    DiscardImage { image: ImageId },
    /// Removes the directory of a container without a record.
    DiscardContainer { container: String },
    /// Removes a link that leads nowhere.
    Unlink { path: PathBuf },
    /// Removes a temporary file.
    RemoveFile { path: PathBuf },
    /// Removes a directory in which a dead writer was unpacking.
    RemoveStaging { path: PathBuf },
}

impl Fix {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::MakeLink { .. } => "the link is made again",
            Self::WriteLink { .. } => "the file is written again",
            Self::WriteLower { .. } | Self::WriteLowerLayers { .. } => {
                "the file is written again from those of the layer below"
            }
            Self::MakeDirectory { .. } => "the directory is made again",
            Self::ForgetCopy { .. } => "the image is made to forget the copy",
            Self::RestoreItem { .. } => "it is written again from another item with its content",
            Self::DiscardLayer { .. }
            | Self::DiscardImage { .. }
            | Self::DiscardContainer { .. }
            | Self::Unlink { .. }
            | Self::RemoveFile { .. }
            | Self::RemoveStaging { .. } => "it is removed",
        }
    }

    /// Whether something goes.
    pub(super) fn removes(&self) -> bool {
        self.as_str() == "it is removed"
    }
}
