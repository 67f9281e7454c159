//! Loading an archive into the store, in one pass over the stream.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::failure;
use super::host_file::{self, Directory, HostFile};
use crate::archive::{self, ArchivedImage, Limits, Members, StageError};
use crate::engine::{Error, ErrorKind, Event, LoadReport, Result};
use crate::events::ImageAction;
use crate::image::{ImageId, Platform, PolicyFile, Source};
use crate::layer;
use crate::registry;
use crate::storage::{self, ImageDraft, StagedLayer, Store, record::ImageRecord};
use crate::sys::Cancel;

/// Where loads go, and what may be loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) store: &'a Store,
    pub(super) policy: &'a PolicyFile,
}

/// Reads an archive, plain or compressed, and stores all of its images or none.
pub(super) fn load(target: Target<'_>, input: impl Read + Send, cancel: &Cancel) -> Result<Loaded> {
    load_archive(target, input, None, cancel)
}

fn load_archive(
    target: Target<'_>,
    input: impl Read + Send,
    path: Option<&Path>,
    cancel: &Cancel,
) -> Result<Loaded> {
    let Target { store, policy } = target;
    let members = match scan(store, input, &mut |_| {}, cancel) {
        Ok(members) => members,
        Err(Failure::Engine(error)) => return Err(error),
        Err(Failure::Archive(error)) if error.is_limit() => return Err(failure::archive(&error)),
        Err(Failure::Archive(error)) => {
            cancel.check().map_err(failure::canceled)?;
            let text = match &error {
                archive::Error::Read(source) => {
                    Error::from_source(ErrorKind::BadArchive, source).to_string()
                }
                other => chain(other),
            };
            return Err(no_archive(
                &format!("creating temp directory: untarring file: {text}"),
                &format!("loading tar component \"manifest.json\": {text}"),
            ));
        }
    };
    let images = images(&members, policy, path)?;
    commit(store, members, images, cancel)
}

/// Stores images and their layers, all or none.
pub(super) fn commit(
    store: &Store,
    members: Members<StagedLayer>,
    images: Vec<ArchivedImage>,
    cancel: &Cancel,
) -> Result<Loaded> {
    let answers: Vec<_> = images.iter().map(answer).collect();
    let drafts = images.into_iter().map(draft).collect::<Result<Vec<_>>>()?;
    let ids = store.commit(members.into_layers(), drafts, cancel).map_err(failure::storage)?;
    let images: Vec<_> = ids.into_iter().zip(answers).collect();
    let names = images.iter().flat_map(|(_, names)| names.iter().cloned());
    let names = (!images.is_empty()).then(|| names.collect());
    Ok(Loaded { images, report: LoadReport { names } })
}

/// What a load has brought.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) report: LoadReport,
    /// Each with its names or, without any, its ID.
    pub(super) images: Vec<(ImageId, Vec<String>)>,
}

impl Loaded {
    /// One event for each name. To Podman they are called by the file that was loaded; what came
    /// over the wire is in no file here, and so is called by its own name.
    pub(super) fn events(&self, file: Option<&Path>) -> Vec<Event> {
        let file = file.map(|file| file.to_string_lossy().into_owned());
        let event = |id: &ImageId, name: &String| {
            let name = file.as_ref().unwrap_or(name);
            Event::of_image(ImageAction::LoadFromArchive, id, name)
        };
        let images = self.images.iter();
        images.flat_map(|(id, names)| names.iter().map(|name| event(id, name))).collect()
    }
}

/// As [`load`], from a file of the host, or from a directory with an OCI layout or of the transport
/// `dir:`.
pub(super) fn load_file(target: Target<'_>, path: &Path, cancel: &Cancel) -> Result<Loaded> {
    let opened = host_file::open_any(path).map_err(|error| unreadable(path, &error))?;
    // To policies a file is called what it is called without links.
    let resolved: PathBuf = path.canonicalize().map_err(|error| unreadable(path, &error))?;
    match opened {
        HostFile::File(file) => load_archive(target, file, Some(&resolved), cancel),
        HostFile::Directory(directory) => load_directory(target, &directory, &resolved, cancel),
    }
}

/// Loads the images of a directory, in the first of the two formats that fits.
fn load_directory(
    target: Target<'_>,
    directory: &Directory,
    path: &Path,
    cancel: &Cancel,
) -> Result<Loaded> {
    let Target { store, policy } = target;
    let platform = Platform::host();
    let gather = |find: &dyn Fn(&Members<StagedLayer>) -> Result<Vec<_>, archive::Error>| {
        gather(store, directory, &mut |_| {}, cancel, find)
    };
    let oci = match gather(&|members| archive::oci_directory_images(members, &platform))? {
        Ok((members, images)) => match refusal(policy, &Source::oci(path))? {
            None => return commit(store, members, images, cancel),
            Some(refusal) => refusal,
        },
        Err(error) => chain(&error),
    };
    let dir = match gather(&|members| Ok(vec![archive::dir_image(members, &platform)?]))? {
        Ok((members, images)) => match refusal(policy, &Source::dir(path))? {
            None => return commit(store, members, images, cancel),
            Some(refusal) => refusal,
        },
        Err(error) => chain(&error),
    };
    Err(no_format(
        &oci,
        "creating temp directory: untarring file: is a directory",
        "detecting compression: is a directory",
        &dir,
    ))
}

/// The images of a directory as `find` finds them, and their layers. `staged` is told each layer when it
/// is read. The inner error says why the directory does not fit.
pub(super) fn gather<T>(
    store: &Store,
    directory: &Directory,
    staged: &mut dyn FnMut(&StagedLayer),
    cancel: &Cancel,
    find: impl Fn(&Members<StagedLayer>) -> Result<T, archive::Error>,
) -> Result<Result<(Members<StagedLayer>, T), archive::Error>> {
    let open = |name: &str| directory.open(name);
    let mut budget = Budget::new(store);
    let stage = |content: &mut (dyn Read + Send)| {
        budget.stage(content, cancel).inspect(|layer| staged(layer))
    };
    match archive::gather(open, &Limits::default(), stage, find) {
        Ok((members, Ok(images))) => Ok(Ok((members, images))),
        Ok((_, Err(error))) | Err(Failure::Archive(error)) if error.is_limit() => {
            Err(failure::archive(&error))
        }
        Ok((_, Err(error))) | Err(Failure::Archive(error)) => {
            cancel.check().map_err(failure::canceled)?;
            Ok(Err(error))
        }
        Err(Failure::Engine(error)) => Err(error),
    }
}

/// Why the policy does not let an image in. It is one more reason why a format does not fit, unless
/// the policy could not be read for want of something.
fn refusal(policy: &PolicyFile, source: &Source) -> Result<Option<String>> {
    match registry::policy::check(policy, source) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == registry::ErrorKind::Exhausted => {
            Err(failure::registry(error))
        }
        Err(error) => Ok(Some(error.to_string())),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NoSuchFile, format!("file does not exist: {path:?}"))
        }
        _ => Error::new(ErrorKind::BadRequest, host_file::words(error))
            .context(format!("stat {}", path.display()))
            .context("failed to access file"),
    }
}

/// What ends a scan: the archive's fault, or ours.
pub(super) enum Failure {
    Archive(archive::Error),
    Engine(Error),
}

impl From<archive::Error> for Failure {
    fn from(error: archive::Error) -> Self {
        Self::Archive(error)
    }
}

/// The members of an archive, plain or compressed. `staged` is told each layer when it is read.
pub(super) fn scan(
    store: &Store,
    input: impl Read + Send,
    staged: &mut dyn FnMut(&StagedLayer),
    cancel: &Cancel,
) -> Result<Members<StagedLayer>, Failure> {
    let mut budget = Budget::new(store);
    let scan = |input: &mut (dyn Read + Send)| {
        archive::scan(input, &Limits::default(), |content| {
            budget.stage(content, cancel).inspect(|layer| staged(layer))
        })
    };
    let expansion = store.options().limits.expansion;
    match layer::read_decompressed(input, expansion, scan) {
        Ok(scanned) => scanned,
        Err(error) if failure::is_ours(&error) => {
            Err(Failure::Engine(failure::storage(storage::Error::Layer(error))))
        }
        Err(error) => Err(archive::Error::Read(error).into()),
    }
}

/// What the layers of one archive may come to: together not more than one of them alone.
struct Budget<'a> {
    store: &'a Store,
    layers: usize,
    bytes: u64,
}

impl<'a> Budget<'a> {
    /// Layers of all images of an archive. Each costs two descriptors until the end.
    const LAYERS: usize = 4096;

    fn new(store: &'a Store) -> Self {
        Self { store, layers: 0, bytes: 0 }
    }

    fn stage(
        &mut self,
        content: impl Read + Send,
        cancel: &Cancel,
    ) -> Result<StagedLayer, StageError<Failure>> {
        let fatal = |error| StageError::Fatal(Failure::Engine(error));
        let limit = |what, limit| fatal(failure::archive(&archive::Error::Limit { what, limit }));
        self.layers += 1;
        if self.layers > Self::LAYERS {
            return Err(limit("number of layers", Self::LAYERS as u64));
        }
        let staged = self.store.stage(content, cancel).map_err(|error| match error {
            // Unless it is too large, a layer counts only if an image lists it.
            storage::Error::Layer(error) if !error.is_limit() && !failure::is_ours(&error) => {
                StageError::Content(error)
            }
            error => fatal(failure::storage(error)),
        })?;
        self.bytes = self.bytes.saturating_add(staged.info().diff_size);
        let allowed = self.store.options().limits.unpacked;
        if self.bytes > allowed {
            return Err(limit("size of all layers", allowed));
        }
        Ok(staged)
    }
}

/// The images the members make up, in the first format that fits. As with Podman, an archive that
/// is both (as Docker writes today) is an OCI one if it has one image. Podman loads neither an
/// OCI archive of several nor the tar of a `dir:` directory, though it exports the latter, so these
/// come last: what it loads is loaded here in the same way.
fn images(
    members: &Members<StagedLayer>,
    policy: &PolicyFile,
    path: Option<&Path>,
) -> Result<Vec<ArchivedImage>> {
    let platform = Platform::host();
    let allowed = |source: &Source, found: Result<Vec<ArchivedImage>, String>| {
        let Ok(images) = found else { return Ok(found) };
        refusal(policy, source).map(|refusal| refusal.map_or(Ok(images), Err))
    };
    let oci_archive = Source::oci_archive(path);
    let one = archive::oci_image(members, &platform);
    let several = matches!(one, Err(archive::Error::NotOneImage));
    let one = fits(one)?;
    let mut oci = match allowed(&oci_archive, one.map(|image| vec![image]))? {
        Ok(images) => return Ok(images),
        Err(text) => text,
    };
    let docker = fits(archive::docker_images(members))?;
    // Nothing but the text depends on the name.
    let name = docker.iter().flatten().find_map(|image| image.names.first());
    let name = name.map(ToString::to_string);
    let docker = match allowed(&Source::docker_archive(path, name.as_deref()), docker)? {
        Ok(images) => return Ok(images),
        Err(text) => text,
    };
    if several {
        let images = fits(archive::oci_images(members, &platform))?;
        match allowed(&oci_archive, images)? {
            Ok(images) => return Ok(images),
            Err(text) => oci = text,
        }
    }
    let directory = match archive::dir_image(members, &platform) {
        Ok(image) => allowed(&Source::dir_archive(path), Ok(vec![image]))?,
        Err(archive::Error::MissingBlob(name)) if DIRECTORY.contains(&name.as_str()) => {
            return Err(no_archive(&oci, &docker));
        }
        Err(error) => fits(Err(error))?,
    };
    directory.map_err(|dir| no_format(NO_LAYOUT, &oci, &docker, &dir))
}

/// What makes a `dir:` directory one.
const DIRECTORY: [&str; 2] = ["version", "manifest.json"];
/// Why a file is no OCI layout, for Podman.
const NO_LAYOUT: &str = "open index.json: not a directory";

/// The error about a file that is neither kind of archive.
fn no_archive(oci: &str, docker: &str) -> Error {
    no_format(
        NO_LAYOUT,
        oci,
        docker,
        "reading version file \"version\": open version: not a directory",
    )
}

/// Podman's words when none of its formats fits, with what each says, in its order.
fn no_format(oci: &str, oci_archive: &str, docker_archive: &str, dir: &str) -> Error {
    let text = format!(
        "payload does not match any of the supported image formats:\
         \n * oci: {oci}\
         \n * oci-archive: {oci_archive}\
         \n * docker-archive: {docker_archive}\
         \n * dir: {dir}"
    );
    Error::new(ErrorKind::BadArchive, text)
}

fn chain(error: &archive::Error) -> String {
    failure::archive(error).to_string()
}

/// Why a format does not fit. What is too large is so in any format.
fn fits<T>(found: Result<T, archive::Error>) -> Result<Result<T, String>> {
    match found {
        Err(error) if error.is_limit() => Err(failure::archive(&error)),
        other => Ok(other.map_err(|error| chain(&error))),
    }
}

/// What the caller is told about an image: its names, or its ID.
fn answer(image: &ArchivedImage) -> Vec<String> {
    if image.names.is_empty() {
        vec![image.config_digest.to_string()]
    } else {
        image.names.iter().map(ToString::to_string).collect()
    }
}

/// The record to be made, with its data items in the order in which Podman writes them.
pub(super) fn draft(image: ArchivedImage) -> Result<ImageDraft> {
    let id = ImageId::of_config(&image.config_digest)
        .map_err(|error| Error::from_source(ErrorKind::BadArchive, &error))?;
    let manifest_digest = image.manifest.digest();
    let index = image.index.map(|index| (index.digest(), index.raw().clone()));
    let digest = index.as_ref().map_or(&manifest_digest, |(digest, _)| digest).clone();
    let mut items: Vec<(String, Bytes)> = vec![(image.config_digest.to_string(), image.config)];
    items.extend(index.map(|(digest, raw)| (format!("manifest-{digest}"), raw)));
    items.push((format!("manifest-{manifest_digest}"), image.manifest.raw().clone()));
    items.push((ImageRecord::MANIFEST.to_owned(), image.manifest.raw().clone()));
    Ok(ImageDraft {
        id,
        created: image.parsed_config.created_at().unwrap_or_else(jiff::Timestamp::now),
        digest,
        diff_ids: image.diff_ids,
        items,
        // Podman adds one name after the other, each in front of those before it.
        names: image.names.iter().rev().map(ToString::to_string).collect(),
    })
}
