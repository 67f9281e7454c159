//! Names, documents and files of settings.

use std::ffi::OsString;
use std::fs;
use std::sync::LazyLock;

use imaged::config::{Args, Command, Config, Host};
use imaged::image::{
    ImageConfig, Manifest, Policy, Reference, Source, docker_config_to_oci, fuzzing,
};
use tempfile::TempDir;

use crate::scratch;

/// A name that is accepted means the same when it is written and read again.
pub fn references(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsers = [Reference::parse, Reference::normalize_docker, Reference::normalize_local];
    for reference in parsers.into_iter().filter_map(|parse| parse(text).ok()) {
        let written = reference.to_string();
        assert!(!written.contains(char::is_control));
        let again = Reference::parse(&written).expect("what was written can be read");
        assert_eq!(again, reference, "{written:?}");
        let _ = (reference.familiar(), reference.is_short(), reference.domain());
        let _ = reference.tagged();
    }
}

/// Documents are kept to the byte.
pub fn documents(input: &[u8]) {
    if let Ok(manifest) = Manifest::parse(input.to_vec()) {
        assert_eq!(&manifest.raw()[..], input);
        let _ = (manifest.digest(), manifest.config(), manifest.annotations());
        let listed = manifest.layers().iter().chain(manifest.instances());
        for descriptor in listed {
            let plain = |char: char| char.is_ascii_alphanumeric() || "+._-:".contains(char);
            assert!(descriptor.digest.as_str().chars().all(plain), "{}", descriptor.digest);
        }
    }
    if let Ok(config) = ImageConfig::parse(input) {
        let _ = (config.created_at(), config.platform(), config.labels());
        for entry in config.history() {
            let _ = (entry.created_at(), entry.is_empty_layer());
        }
    }
    let _ = docker_config_to_oci(input);
}

/// Instructions are lines; those of one change have a NUL between them.
pub fn changes(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let changes: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let _ = (fuzzing::import_changes(&changes), fuzzing::commit_changes(&changes));
}

/// The first byte says what the rest is.
pub fn settings(input: &[u8]) {
    static HOME: LazyLock<TempDir> = LazyLock::new(scratch::directory);
    let Some((kind, text)) = input.split_first() else { return };
    let variable = match kind % 4 {
        0 => {
            if let Ok(policy) = Policy::parse(text) {
                let reference = Reference::parse("quay.io/a/b:1").expect("a reference");
                let _ = policy.verdict(&Source::docker(&reference));
                let _ = policy.verdict(&Source::dir(HOME.path()));
            }
            return;
        }
        1 => "CONTAINERS_REGISTRIES_CONF",
        2 => "CONTAINERS_STORAGE_CONF",
        _ => "CONTAINERS_CONF",
    };
    let file = HOME.path().join("file");
    fs::write(&file, text).expect("a file");
    let variables = [
        (OsString::from(variable), file.into_os_string()),
        ("HOME".into(), HOME.path().as_os_str().to_owned()),
    ];
    let host = Host::new(variables, 0, false, None);
    let args = Args::read(["imaged", "serve"]).expect("a command line");
    let Command::Serve(serve) = &args.command else { unreachable!() };
    if let Ok(config) = Config::load(&args, serve, &host) {
        let reference = Reference::parse("quay.io/a/b:1").expect("a reference");
        let _ = config.registry.registries.pull_sources(&reference);
        let _ = config.registry.registries.find("quay.io/a/b");
    }
}
