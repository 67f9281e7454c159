//! What is written can be read, and what cannot be read says why.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use super::tar_writer::TarWriter;
use super::*;
use crate::image::{ManifestKind, Platform, media_type};
use crate::layer::{Compression, Decoder, Unpacked};

/// A staged layer that is only measured.
#[derive(Debug)]
struct Measured(Unpacked);

impl AsRef<Unpacked> for Measured {
    fn as_ref(&self) -> &Unpacked {
        &self.0
    }
}

fn measure(content: &mut (dyn Read + Send)) -> Result<Measured, StageError<Error>> {
    let mut compressed = Vec::new();
    let mut tar = Vec::new();
    let read = content
        .read_to_end(&mut compressed)
        .and_then(|_| Decoder::new(&compressed[..]))
        .and_then(|mut decoder| decoder.read_to_end(&mut tar));
    read.map_err(|error| StageError::Content(error.into()))?;
    Ok(Measured(Unpacked {
        compression: Compression::detect(&compressed),
        compressed_digest: Digest::of(&compressed),
        compressed_size: compressed.len() as u64,
        diff_id: DiffId::from_sha256(Sha256::digest(&tar).into()),
        diff_size: tar.len() as u64,
        uids: Vec::new(),
        gids: Vec::new(),
        is_doubtful: false,
    }))
}

fn scanned(archive: &[u8]) -> Result<Members<Measured>, Error> {
    scan(archive, &Limits::default(), measure)
}

/// An uncompressed layer with one file.
fn layer(content: &str) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new(), 0o644, 0);
    tar.document("file", content.as_bytes()).unwrap();
    tar.finish().unwrap()
}

fn diff_id(layer: &[u8]) -> DiffId {
    DiffId::from_sha256(Sha256::digest(layer).into())
}

fn config(layers: &[&[u8]]) -> String {
    let ids: Vec<_> = layers.iter().map(|layer| diff_id(layer)).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
        serde_json::to_string(&ids).unwrap()
    )
}

/// A docker archive with these members and one item in its manifest.
fn docker(members: &[(&str, &[u8])], item: &str) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new(), 0o444, 0);
    for (name, content) in members {
        tar.document(name, content).unwrap();
    }
    tar.document("manifest.json", format!("[{item}]").as_bytes()).unwrap();
    tar.finish().unwrap()
}

fn saved(kind: &str, layers: &[&[u8]], names: &[&str]) -> SavedImage {
    let config = config(layers);
    let listed: Vec<_> = layers
        .iter()
        .map(|layer| {
            format!(r#"{{"mediaType":"x","digest":"{}","size":{}}}"#, diff_id(layer), layer.len())
        })
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"y","digest":"{}","size":{}}},"layers":[{}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        listed.join(",")
    );
    SavedImage {
        manifest: Manifest::parse(manifest).unwrap(),
        config: config.into(),
        layers: layers
            .iter()
            .map(|layer| SavedLayer { diff_id: diff_id(layer), size: layer.len() as u64 })
            .collect(),
        names: names.iter().map(|name| name.parse_reference()).collect(),
    }
}

trait ParseReference {
    fn parse_reference(&self) -> Reference;
}

impl ParseReference for str {
    fn parse_reference(&self) -> Reference {
        Reference::parse(self).unwrap()
    }
}

#[test]
fn a_docker_archive_comes_back() {
    let (one, two) = (layer("one"), layer("two"));
    // The same layer twice is legal, and stored once.
    let image =
        saved(media_type::OCI_MANIFEST, &[&one, &two, &one], &["localhost/a:1", "quay.io/b:2"]);
    let write =
        |out: &mut dyn Write, _: usize, index: usize| out.write_all([&one, &two, &one][index]);
    let archive = write_docker_archive(std::slice::from_ref(&image), Vec::new(), write).unwrap();

    let images = docker_images(&scanned(&archive).unwrap()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].config, image.config);
    assert_eq!(images[0].diff_ids, [diff_id(&one), diff_id(&two), diff_id(&one)]);
    assert_eq!(images[0].names, image.names);
    assert_eq!(images[0].manifest.kind(), ManifestKind::Docker);
    assert_eq!(images[0].manifest.layers()[1].digest, *diff_id(&two).digest());
    assert_eq!(images[0].manifest.layers()[1].size, two.len() as u64);
}

#[test]
fn an_oci_archive_comes_back() {
    let (one, two) = (layer("one"), layer("two"));
    for compress in [true, false] {
        let image = saved(media_type::OCI_MANIFEST, &[&one, &two], &["localhost/a:1"]);
        let options = BlobOptions { compress, mtime: 0, spool: &tempfile::tempfile };
        let write = |out: &mut dyn Write, index: usize| out.write_all([&one, &two][index]);
        let archive = write_oci_archive(&image, &options, Vec::new(), write).unwrap();

        let read = oci_image(&scanned(&archive).unwrap(), &Platform::host()).unwrap();
        assert_eq!(read.config, image.config);
        assert_eq!(read.diff_ids, [diff_id(&one), diff_id(&two)]);
        assert_eq!(read.names, image.names);
        // Uncompressed, nothing changes, so the manifest is the stored one.
        assert_eq!(read.manifest.raw() == image.manifest.raw(), !compress);
    }
}

#[test]
fn a_docker_image_becomes_an_oci_image() {
    let one = layer("one");
    let image = saved(media_type::DOCKER_MANIFEST, &[&one], &[]);
    let options = BlobOptions { compress: false, mtime: 0, spool: &tempfile::tempfile };
    let archive =
        write_oci_archive(&image, &options, Vec::new(), |out, _| out.write_all(&one)).unwrap();
    let read = oci_image(&scanned(&archive).unwrap(), &Platform::host()).unwrap();
    let manifest = &read.manifest;
    assert_eq!(manifest.kind(), ManifestKind::Oci);
    assert_eq!(manifest.config().unwrap().media_type, media_type::OCI_CONFIG);
    assert_eq!(manifest.layers()[0].media_type, media_type::OCI_LAYER);
    assert!(read.names.is_empty());
}

#[test]
fn a_docker_directory_has_files_named_by_digest() {
    let (one, two) = (layer("one"), layer("two"));
    for (kind, compress) in [
        (media_type::OCI_MANIFEST, false),
        (media_type::OCI_MANIFEST, true),
        (media_type::DOCKER_MANIFEST, false),
    ] {
        let image = saved(kind, &[&one, &two, &one], &[]);
        let options = BlobOptions { compress, mtime: 7, spool: &tempfile::tempfile };
        let write = |out: &mut dyn Write, index: usize| out.write_all([&one, &two, &one][index]);
        let tar = write_docker_dir(&image, &options, Vec::new(), write).unwrap();

        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        // Config, two layers, version and manifest.
        assert_eq!(files.len(), 5);
        assert_eq!(files["version"], b"Directory Transport Version: 1.1\n");
        let manifest = Manifest::parse(files["manifest.json"].clone()).unwrap();
        assert_eq!(manifest.kind(), ManifestKind::Docker);
        assert_eq!(files[manifest.config().unwrap().digest.hex()], image.config);
        let unpacked: Vec<_> = manifest
            .layers()
            .iter()
            .map(|layer| {
                let packed = &files[layer.digest.hex()];
                assert_eq!(
                    (Digest::of(packed), packed.len() as u64),
                    (layer.digest.clone(), layer.size)
                );
                let mut tar = Vec::new();
                Decoder::new(&packed[..]).unwrap().read_to_end(&mut tar).unwrap();
                diff_id(&tar)
            })
            .collect();
        assert_eq!(unpacked, [diff_id(&one), diff_id(&two), diff_id(&one)]);
        // A Docker manifest whose layers are these stays as it is.
        let kept = kind == media_type::DOCKER_MANIFEST;
        assert_eq!(manifest.raw() == image.manifest.raw(), kept);
        if !kept {
            let layer_type =
                if compress { media_type::DOCKER_LAYER_GZIP } else { media_type::DOCKER_LAYER };
            assert_eq!(manifest.layers()[0].media_type, layer_type);
        }
        // No other format takes such a tar for its own.
        let members = scanned(&tar).unwrap();
        assert!(
            oci_image(&members, &Platform::host()).is_err() && docker_images(&members).is_err()
        );
    }
}

/// Tars of layout directories, as `tar` makes them: any order, names with `./`.
#[test]
fn members_of_an_oci_layout_may_come_in_any_order() {
    let one = layer("one");
    let image = saved(media_type::OCI_MANIFEST, &[&one], &["localhost/a:1"]);
    let options = BlobOptions { compress: true, mtime: 0, spool: &tempfile::tempfile };
    let archive =
        write_oci_archive(&image, &options, Vec::new(), |out, _| out.write_all(&one)).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if entry.header().entry_type().is_file() {
            files.push((format!("./{}", entry.path().unwrap().display()), content));
        }
    }
    for _ in 0..files.len() {
        files.rotate_left(1);
        let mut tar = TarWriter::new(Vec::new(), 0o644, 0);
        tar.directory("./").unwrap();
        for (name, content) in &files {
            tar.document(name, content).unwrap();
        }
        let members = scanned(&tar.finish().unwrap()).unwrap();
        let read = oci_image(&members, &Platform::host()).unwrap();
        assert_eq!((&read.config, &read.names), (&image.config, &image.names));
    }
}

/// Of a directory only the image's files are opened, each once, the documents first.
#[test]
fn a_directory_is_read_as_its_documents_say() {
    let (one, two) = (layer("one"), layer("two"));
    let image = saved(media_type::DOCKER_MANIFEST, &[&one, &two, &one], &[]);
    let (config, manifest) = (Digest::of(&image.config), image.manifest.digest());
    let [first, second] = [&one, &two].map(|layer| diff_id(layer).hex().to_owned());
    let mut files = std::collections::HashMap::from([
        ("manifest.json".to_owned(), image.manifest.raw().to_vec()),
        (config.hex().to_owned(), image.config.to_vec()),
        (first.clone(), one.clone()),
        (second.clone(), two.clone()),
        ("unrelated".to_owned(), one),
    ]);
    let read = |files: &std::collections::HashMap<String, Vec<u8>>| {
        let mut opened = Vec::new();
        let open = |name: &str| {
            opened.push(name.to_owned());
            let content = files.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(DirectoryFile { content: content.as_slice(), size: content.len() as u64 })
        };
        let find = |members: &Members<Measured>| dir_image(members, &Platform::host());
        let (_, image) = gather(open, &Limits::default(), measure, find).unwrap();
        (opened, image.map_err(|error| error.to_string()))
    };

    let (opened, found) = read(&files);
    assert_eq!(opened, ["version", "manifest.json", config.hex(), &first, &second]);
    let found = found.unwrap();
    assert_eq!((found.config, found.diff_ids.len()), (image.config.clone(), 3));
    assert_eq!(found.manifest.digest(), manifest);
    assert!(found.names.is_empty());

    files.remove(&second);
    let (opened, error) = read(&files);
    assert_eq!(opened.last(), Some(&second));
    assert_eq!(error.unwrap_err(), format!("open {second}: no such file or directory"));
    files.insert("version".to_owned(), b"2.0".to_vec());
    let (opened, error) = read(&files);
    assert_eq!(opened, ["version"]);
    assert_eq!(error.unwrap_err(), r#"invalid version file content: "2.0""#);
}

#[test]
fn old_docker_layouts_link_their_layers() {
    let one = layer("one");
    let config = config(&[&one]);
    let mut tar = TarWriter::new(Vec::new(), 0o444, 0);
    tar.document("abc/layer.tar", &one).unwrap();
    tar.symlink("def/layer.tar", "../abc/layer.tar").unwrap();
    tar.symlink("loop/layer.tar", "../loop/layer.tar").unwrap();
    tar.document("c.json", config.as_bytes()).unwrap();
    tar.document(
        "manifest.json",
        br#"[{"Config":"c.json","RepoTags":null,"Layers":["def/layer.tar"]}]"#,
    )
    .unwrap();
    let members = scanned(&tar.finish().unwrap()).unwrap();
    assert_eq!(docker_images(&members).unwrap()[0].diff_ids, [diff_id(&one)]);
    assert!(!members.contains("loop/layer.tar"));
}

#[test]
fn damaged_archives_say_what_is_wrong() {
    let (one, two) = (layer("one"), layer("two"));
    let config = config(&[&one]);
    let item = |tag: &str, layer: &str| {
        format!(r#"{{"Config":"c.json","RepoTags":["{tag}"],"Layers":["{layer}"]}}"#)
    };
    let members: &[(&str, &[u8])] =
        &[("c.json", config.as_bytes()), ("1.tar", &one), ("2.tar", &two)];
    let cases = [
        (docker(members, &item("UPPER:1", "1.tar")), r#"Invalid tag "UPPER:1" in manifest item @0: invalid reference format: repository name must be lowercase"#.to_owned()),
        (docker(members, &item("a", "1.tar")), "Invalid tag a (docker.io/library/a): does not contain a tag".to_owned()),
        (docker(members, &item("a:1", "3.tar")), "Some layer tarfiles are missing in the tarball".to_owned()),
        (docker(members, &item("a:1", "2.tar")), format!("Digest did not match, expected {}, got {}", diff_id(&one), diff_id(&two))),
        (docker(members, &item("a:1", "c.json")), "c.json is not a layer".to_owned()),
        (docker(members, r#"{"Config":"c.json","Layers":[]}"#), "the manifest lists 0 layers, the config 1".to_owned()),
        (docker(members, r#"{"Config":"x.json","Layers":[]}"#), r#"loading tar component "x.json": file does not exist"#.to_owned()),
        (docker(&[], "5"), "decoding tar manifest.json: invalid type: integer `5`, expected struct Item at line 1 column 2".to_owned()),
    ];
    for (archive, text) in cases {
        let error = docker_images(&scanned(&archive).unwrap()).unwrap_err();
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        assert_eq!(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "), text);
    }
    let empty = scanned(&docker(&[], "")).unwrap();
    assert!(docker_images(&empty).unwrap().is_empty());
    assert!(matches!(oci_image(&empty, &Platform::host()), Err(Error::MissingIndex)));
}

#[test]
fn a_name_is_that_of_the_first_image_with_it() {
    let (one, two) = (layer("one"), layer("two"));
    let (first, second) = (config(&[&one]), config(&[&two]));
    let items = r#"{"Config":"1.json","RepoTags":["a:1","b:1"],"Layers":["1.tar"]},
        {"Config":"2.json","RepoTags":["c:1","b:1","d:1"],"Layers":["2.tar"]}"#;
    let members: &[(&str, &[u8])] = &[
        ("1.json", first.as_bytes()),
        ("2.json", second.as_bytes()),
        ("1.tar", &one),
        ("2.tar", &two),
    ];
    let images = docker_images(&scanned(&docker(members, items)).unwrap()).unwrap();
    let found: Vec<_> = images
        .iter()
        .map(|image| {
            let names: Vec<_> = image.names.iter().map(ToString::to_string).collect();
            (image.diff_ids[0] == diff_id(&one), names.join(" "))
        })
        .collect();
    let expected = [
        (true, "localhost/a:1 localhost/b:1"),
        (false, "localhost/c:1"),
        (true, "localhost/b:1"),
        (false, "localhost/d:1"),
    ];
    assert_eq!(found, expected.map(|(first, names)| (first, names.to_owned())));
}

#[test]
fn members_must_be_unique_and_whole() {
    let twice = docker(&[("a", b"1"), ("./a", b"2")], "");
    assert!(matches!(scanned(&twice), Err(Error::Malformed(_))));
    let whole = docker(&[("a", b"1")], "");
    assert!(matches!(scanned(&whole[..512]), Err(Error::Read(crate::layer::Error::Truncated))));
    assert!(scanned(b"garbage").is_err());
    let limits = Limits { members: 1, ..Limits::default() };
    assert!(matches!(scan(&whole[..], &limits, measure), Err(Error::Limit { .. })));
}

#[test]
fn a_failing_layer_ends_the_archive_in_the_middle() {
    let one = layer("one");
    let image = saved(media_type::OCI_MANIFEST, &[&one], &[]);
    let fail = |_: &mut dyn Write, _, _| Err(io::Error::other("gone"));
    assert_eq!(write_docker_archive(&[image], Vec::new(), fail).unwrap_err().to_string(), "gone");
}

/// A whole archive whose sender gives up behind it is not a whole request.
#[test]
fn the_stream_behind_an_archive_has_to_end_too() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
    let mut tar = TarWriter::new(Vec::new(), 0o644, 0);
    tar.document("file", b"{}").unwrap();
    let archive = tar.finish().unwrap();
    assert!(scanned(&archive).is_ok());
    assert!(scanned(&[&archive[..], &[0; 9000]].concat()).is_ok());
    let error = scan::<_, _, Error>(archive.as_slice().chain(Broken), &Limits::default(), measure);
    assert!(matches!(error, Err(Error::Read(_))), "{error:?}");
}
