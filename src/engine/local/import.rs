//! Making an image of one layer from the tar of a root file system.

use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use super::load::Target;
use super::{failure, host_file, load, policy, tagging};
use crate::archive::ArchivedImage;
use crate::engine::{Error, ErrorKind, Event, ImportOptions, ImportReport, Result};
use crate::events::ImageAction;
use crate::image::document::{
    OciConfig, OciContainerConfig, OciDescriptor, OciManifest, OciRootFs,
};
use crate::image::{
    self, Digest, HistoryEntry, ImageConfig, ImageId, Manifest, Platform, Reference, Source,
    go_json, media_type,
};
use crate::layer::{Compression, Unpacked};
use crate::storage::{self, Store};
use crate::sys::Cancel;

/// What an import is to make of its tar; known before any of it is read.
pub(super) struct ImportPlan {
    config: OciContainerConfig,
    comment: String,
    name: Option<Name>,
    platform: Platform,
}

/// A name for the image.
struct Name {
    reference: Reference,
    /// As the caller wrote it.
    given: String,
}

/// What an import has made, and the event that tells of its name.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) report: ImportReport,
    pub(super) event: Option<Event>,
}

/// Understands the options. An import with bad ones stores nothing.
pub(super) fn plan(options: ImportOptions) -> Result<ImportPlan> {
    let ImportOptions { changes, message, reference, platform } = options;
    let config = image::container_config(&changes)
        .map_err(|error| Error::from_source(ErrorKind::BadRequest, &error))?;
    let name = match reference {
        none if none.is_empty() => None,
        given => Some(Name { reference: tagging::checked_name(&given)?, given }),
    };
    let host = Platform::host();
    let or = |given: String, host| if given.is_empty() { host } else { given };
    Ok(ImportPlan {
        config,
        comment: or(message, "imported from tarball".to_owned()),
        name,
        platform: Platform {
            os: or(platform.os, host.os),
            architecture: or(platform.architecture, host.architecture),
            // Podman states a variant only if it was told one.
            variant: platform.variant,
        },
    })
}

impl ImportPlan {
    /// Stores the tar, plain or compressed, as the only layer of an image. `created` gives its time
    /// once the tar has been read.
    pub(super) fn import(
        self,
        target: Target<'_>,
        input: impl Read + Send,
        created: impl FnOnce() -> Timestamp,
        cancel: &Cancel,
    ) -> Result<Imported> {
        policy::check(target.policy, &Source::tarball(None))?;
        self.import_allowed(target.store, input, created, cancel)
    }

    fn import_allowed(
        self,
        store: &Store,
        input: impl Read + Send,
        created: impl FnOnce() -> Timestamp,
        cancel: &Cancel,
    ) -> Result<Imported> {
        let layer = store.stage(input, cancel).map_err(|error| {
            let of_layer = matches!(error, storage::Error::Layer(_));
            let error = failure::storage(error);
            if of_layer { error.context("writing blob: adding layer") } else { error }
        })?;
        let given = self.name.as_ref().map(|name| name.given.clone());
        let image = self.image(layer.info(), created())?;
        let draft = load::draft(image)?;
        let id: ImageId = draft.id.clone();
        store.commit(vec![layer], vec![draft], cancel).map_err(failure::storage)?;
        let event = given.map(|given| Event::of_image(ImageAction::Tag, &id, given));
        Ok(Imported { report: ImportReport { id }, event })
    }

    /// As [`import`](Self::import), from a file of the host, whose time becomes the image's.
    pub(super) fn import_file(
        self,
        target: Target<'_>,
        path: &Path,
        cancel: &Cancel,
    ) -> Result<Imported> {
        let unreadable = |error: io::Error| {
            Error::new(ErrorKind::BadRequest, host_file::words(&error))
                .context(format!("open {}", path.display()))
                .context(format!("error opening {path:?}"))
        };
        let file = host_file::open(path).map_err(unreadable)?;
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let modified = modified.map_err(unreadable)?;
        let created = || Timestamp::try_from(modified).unwrap_or_else(|_| Timestamp::now());
        policy::check(target.policy, &Source::tarball(Some(path)))?;
        self.import_allowed(target.store, file, created, cancel)
    }

    /// The documents, as Podman would write them.
    fn image(self, layer: &Unpacked, created: Timestamp) -> Result<ArchivedImage> {
        let step = HistoryEntry {
            created: Some(created.to_string()),
            created_by: Some(format!("/bin/sh -c #(nop) ADD file:{} in /", layer.diff_id.hex())),
            comment: Some(self.comment),
            ..HistoryEntry::default()
        };
        let config = go_json::to_vec(&OciConfig {
            created: Some(created),
            author: None,
            architecture: Some(self.platform.architecture),
            os: Some(self.platform.os),
            os_version: None,
            os_features: None,
            variant: Some(self.platform.variant),
            config: Some(self.config),
            rootfs: OciRootFs {
                kind: "layers".to_owned(),
                diff_ids: Some(vec![layer.diff_id.to_string()]),
            },
            history: Some(vec![step]),
        })
        .map_err(|error| unwritable(&error))?;
        let config_digest = Digest::of(&config);
        let descriptor = |media_type, digest, size| OciDescriptor {
            media_type,
            digest,
            size,
            annotations: Default::default(),
        };
        let manifest = go_json::to_vec(&OciManifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST,
            config: descriptor(media_type::OCI_CONFIG, config_digest.as_str(), config.len() as u64),
            layers: vec![descriptor(
                layer_type(layer.compression),
                layer.compressed_digest.as_str(),
                layer.compressed_size,
            )],
            annotations: Default::default(),
        })
        .map_err(|error| unwritable(&error))?;
        Ok(ArchivedImage {
            manifest: Manifest::parse(manifest).map_err(|error| unwritable(&error))?,
            index: None,
            parsed_config: ImageConfig::parse(&config).map_err(|error| unwritable(&error))?,
            config: config.into(),
            config_digest,
            diff_ids: vec![layer.diff_id.clone()],
            names: self.name.into_iter().map(|name| name.reference).collect(),
        })
    }
}

/// The type that Podman gives the layer. OCI has none for bzip2 and xz; Podman takes gzip's.
fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        Compression::Gzip | Compression::Bzip2 | Compression::Xz => media_type::OCI_LAYER_GZIP,
    }
}

fn unwritable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::from_source(ErrorKind::Storage, error).context("writing the image's documents")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::DiffId;

    fn unpacked(compression: Compression) -> Unpacked {
        Unpacked {
            compression,
            compressed_digest: Digest::of(b"packed"),
            compressed_size: 6,
            diff_id: DiffId::from_sha256([0xab; 32]),
            diff_size: 1024,
            uids: vec![0],
            gids: vec![0],
            is_doubtful: false,
        }
    }

    fn made(options: ImportOptions, compression: Compression) -> ArchivedImage {
        let created = "2026-11-23T16:54:54.048910501Z".parse().unwrap();
        plan(options).unwrap().image(&unpacked(compression), created).unwrap()
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    /// The config is the one Podman 4.3 wrote, with another layer.
    #[test]
    fn documents_are_podmans() {
        let options = ImportOptions {
            changes: ["CMD ls", "ENV A=<1>", "VOLUME /a /b", "STOPSIGNAL INT", "WORKDIR b"]
                .map(ToOwned::to_owned)
                .to_vec(),
            platform: Platform { architecture: "amd64".into(), ..Platform::default() },
            ..ImportOptions::default()
        };
        let image = made(options, Compression::Gzip);
        let id = "ab".repeat(32);
        let time = "2026-11-23T16:54:54.048910501Z";
        let config = format!(
            r#"{{"created":"{time}","architecture":"amd64","os":"linux","config":{{"Env":["A=\u003c1\u003e"],"Cmd":["/bin/sh","-c","ls"],"Volumes":{{"/a":{{}},"/b":{{}}}},"WorkingDir":"b","StopSignal":"2"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{id}"]}},"history":[{{"created":"{time}","created_by":"/bin/sh -c #(nop) ADD file:{id} in /","comment":"imported from tarball"}}]}}"#
        );
        assert_eq!(text(&image.config), config);
        assert_eq!(image.config_digest, Digest::of(config.as_bytes()));
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":6}}]}}"#,
            image.config_digest,
            config.len(),
            Digest::of(b"packed"),
        );
        assert_eq!(text(image.manifest.raw()), manifest);
        assert!(image.names.is_empty());
    }

    #[test]
    fn options_are_kept() {
        let options = ImportOptions {
            message: "hi".into(),
            reference: "base".into(),
            platform: Platform {
                os: "windows".into(),
                architecture: "arm64".into(),
                variant: "v8".into(),
            },
            ..ImportOptions::default()
        };
        let image = made(options, Compression::None);
        let config = text(&image.config);
        assert!(
            config.contains(r#""architecture":"arm64","os":"windows","variant":"v8","config":{},"#)
        );
        assert!(config.contains(r#""comment":"hi""#));
        assert_eq!(image.names, [Reference::parse("localhost/base:latest").unwrap()]);
        assert_eq!(image.manifest.layers()[0].media_type, media_type::OCI_LAYER);
    }

    #[test]
    fn bad_options_say_why() {
        let options = |change: &str, reference: &str| ImportOptions {
            changes: Some(change.to_owned())
                .filter(|change| !change.is_empty())
                .into_iter()
                .collect(),
            reference: reference.into(),
            ..ImportOptions::default()
        };
        for (options, message, cause) in [
            (
                options("EXPOSE a", ""),
                r#"invalid change "EXPOSE a" - EXPOSE port must be an integer: strconv.Atoi: parsing "a": invalid syntax"#,
                "invalid syntax",
            ),
            (
                options("", "UPPER"),
                r#"normalizing name "UPPER": normalizing name "UPPER": repository name must be lowercase"#,
                "repository name must be lowercase",
            ),
            (
                options("", "sha256:abc"),
                "sha256:abc: tag by digest not supported",
                "tag by digest not supported",
            ),
        ] {
            let error = plan(options).err().unwrap();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.cause(), cause);
        }
    }
}
