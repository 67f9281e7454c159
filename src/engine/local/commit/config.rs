//! The config of the image to be: that of the container's image, with what the container runs, and
//! with what the request says.
//!
//! OCI and Docker configs have one shape, of which Docker's has more members; so both are made as
//! Docker's, and what OCI does not have is dropped in the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::is_docker;
use crate::container::{PodmanSettings, RuntimeSettings, Settings};
use crate::engine::{CommitOptions, Error, ErrorKind, Result};
use crate::image::docker_document::DockerImage;
use crate::image::{self, DockerConfig, Empty, HistoryEntry, ImageId, Platform};

/// What is inherited from an image.
pub(super) struct BaseImage {
    pub(super) id: ImageId,
    /// Its first name.
    pub(super) name: Option<String>,
    pub(super) config: Bytes,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What the image will say, without its layers.
pub(super) struct Draft {
    pub(super) image: DockerImage,
    pub(super) annotations: BTreeMap<String, String>,
    /// Entries to be added to the history; `None` if the image is to have no history.
    pub(super) steps: Option<Vec<HistoryEntry>>,
    before: Vec<HistoryEntry>,
    after: Vec<HistoryEntry>,
    created_by: String,
    history_comment: String,
    base: Option<(String, Option<String>)>,
}

/// Refuses containers that have no layer.
pub(super) fn check(settings: &Settings) -> Result<()> {
    match settings {
        Settings::Podman(settings) if settings.is_rootfs => {
            let text = "cannot commit a container that uses an exploded rootfs";
            Err(Error::new(ErrorKind::Unsupported, text).of_kind(ErrorKind::BadRequest))
        }
        _ => Ok(()),
    }
}

impl Draft {
    /// What follows from the container and its image.
    pub(super) fn new(
        settings: &Settings,
        base: Option<BaseImage>,
        options: &CommitOptions,
    ) -> Result<Self> {
        let unreadable = |error: serde_json::Error| {
            Error::from_source(ErrorKind::Storage, &error)
                .context("reading the config of the image")
        };
        let mut draft = Self {
            image: DockerImage::default(),
            annotations: BTreeMap::new(),
            steps: Some(Vec::new()),
            before: Vec::new(),
            after: Vec::new(),
            created_by: String::new(),
            history_comment: String::new(),
            base: None,
        };
        if let Some(base) = base {
            draft.image = DockerImage::parse(&base.config).map_err(unreadable)?;
            draft.annotations = base.annotations;
            draft.base = Some((base.id.to_string(), base.name));
        }
        let config = &mut draft.image.config;
        match settings {
            Settings::Podman(settings) => of_podman(settings, config),
            Settings::Runtime(settings) => of_runtime(settings, config),
            Settings::Unknown => {}
            Settings::Buildah(settings) => {
                let json = if is_docker(options) { &settings.docker } else { &settings.oci };
                if let Some(json) = json {
                    draft.image = DockerImage::parse(json.get().as_bytes()).map_err(unreadable)?;
                }
                draft.annotations.clone_from(&settings.annotations);
                draft.before.clone_from(&settings.history_before);
                draft.after.clone_from(&settings.history_after);
                draft.created_by.clone_from(&settings.created_by);
                draft.history_comment.clone_from(&settings.history_comment);
                if let Some((_, name)) = &mut draft.base
                    && !settings.image.is_empty()
                {
                    *name = Some(settings.image.clone());
                }
            }
        }
        Ok(draft)
    }

    /// What follows from the request. `created` is the image's time.
    pub(super) fn complete(
        &mut self,
        container: &str,
        created: Timestamp,
        options: &CommitOptions,
    ) -> Result<()> {
        let host = Platform::host();
        let image = &mut self.image;
        let or = |known: &mut String, host| {
            if known.is_empty() {
                *known = host;
            }
        };
        or(&mut image.os, host.os);
        or(&mut image.architecture, host.architecture);
        if !options.author.is_empty() {
            image.author.clone_from(&options.author);
        }
        if !options.comment.is_empty() {
            image.comment.clone_from(&options.comment);
        }
        image.created = Some(created);
        image.container = container.to_owned();
        image.parent = match &self.base {
            Some((id, _)) if !options.squash => format!("sha256:{id}"),
            _ => String::new(),
        };
        if let Some((_, Some(name))) = &self.base {
            image.config.image.clone_from(name);
        }
        let shell = image.config.shell.as_deref().unwrap_or_default().join(" ");
        if self.created_by.is_empty() {
            self.created_by = if shell.is_empty() { "/bin/sh".to_owned() } else { shell };
        }
        image.container_config = image.config.clone();

        let mut wanted = options.config.clone();
        image::apply_instructions(&options.changes, &mut wanted).map_err(|error| {
            Error::from_source(ErrorKind::BadRequest, &error).context("applying changes")
        })?;
        overlay(&mut image.config, wanted);

        let layers = image.rootfs.diff_ids.as_ref().is_some_and(|it| !it.is_empty());
        if options.squash {
            image.history.clear();
        } else if image.history.is_empty() && layers {
            // Entries for some of the layers only would be wrong for all of them.
            self.steps = None;
        }
        if is_docker(options) {
            self.annotations.clear();
        } else {
            let key = "org.opencontainers.image.created".to_owned();
            self.annotations.insert(key, created.to_string());
        }
        self.add_steps();
        Ok(())
    }

    /// Adds the entries of the history.
    fn add_steps(&mut self) {
        let Some(steps) = &mut self.steps else { return };
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let empty =
            |entry: &HistoryEntry| HistoryEntry { empty_layer: Some(true), ..entry.clone() };
        steps.extend(self.before.iter().map(empty));
        steps.push(HistoryEntry {
            created: Some(Timestamp::now().to_string()),
            created_by: text(&self.created_by),
            author: text(&self.image.author),
            comment: text(&self.history_comment),
            empty_layer: None,
        });
        steps.extend(self.after.iter().map(empty));
        // Which image it is based on, unless that is known by a part of its ID only.
        if let Some((id, Some(name))) = &self.base
            && !name.is_empty()
            && !id.starts_with(name.as_str())
            && let Some(first) = steps.first_mut()
        {
            let comment = first.comment.take().map(|comment| comment + " ").unwrap_or_default();
            first.comment = Some(format!("{comment}FROM {name}"));
        }
    }
}

/// What Podman knows of a container replaces what its image says, or is added to it.
fn of_podman(settings: &PodmanSettings, config: &mut DockerConfig) {
    let list = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
    config.entrypoint = list(&settings.entrypoint);
    config.cmd = list(&settings.command);
    set_variables(config, &settings.env);
    config.exposed_ports.extend(settings.ports.iter().map(|port| (port.clone(), Empty {})));
    if !settings.labels.is_empty() {
        let labels = settings.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        config.labels.get_or_insert_default().extend(labels);
    }
    if !settings.user.is_empty() {
        config.user.clone_from(&settings.user);
    }
    if !settings.anonymous_volumes.is_empty() {
        let volumes = settings.anonymous_volumes.iter().map(|path| (path.clone(), Empty {}));
        config.volumes.get_or_insert_default().extend(volumes);
    }
    config.working_dir.clone_from(&settings.working_dir);
}

/// A runtime knows one list of arguments, and users as numbers.
fn of_runtime(settings: &RuntimeSettings, config: &mut DockerConfig) {
    let of_image: Vec<&String> = config.entrypoint.iter().chain(&config.cmd).flatten().collect();
    if !settings.args.is_empty() && !settings.args.iter().eq(of_image) {
        config.entrypoint = None;
        config.cmd = Some(settings.args.clone());
    }
    set_variables(config, &settings.env);
    if !settings.working_dir.is_empty() {
        config.working_dir.clone_from(&settings.working_dir);
    }
    // The name that the image has for the user is better than its number.
    if config.user.is_empty() && settings.user != (0, 0) {
        config.user = format!("{}:{}", settings.user.0, settings.user.1);
    }
}

/// Each variable is set anew, at the end.
fn set_variables(config: &mut DockerConfig, env: &[String]) {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let known = config.env.get_or_insert_default();
    for pair in env {
        known.retain(|known| key(known) != key(pair));
        known.push(pair.clone());
    }
}

/// Puts what was asked for over a config. What is merely a switch is taken as it is, also when it is
/// off: so Podman does, and so a commit without a word about the stop signal loses it.
fn overlay(config: &mut DockerConfig, wanted: DockerConfig) {
    let text = |to: &mut String, from: String| {
        if !from.is_empty() {
            *to = from;
        }
    };
    text(&mut config.hostname, wanted.hostname);
    text(&mut config.domainname, wanted.domainname);
    text(&mut config.user, wanted.user);
    text(&mut config.image, wanted.image);
    text(&mut config.working_dir, wanted.working_dir);
    config.attach_stdin = wanted.attach_stdin;
    config.attach_stdout = wanted.attach_stdout;
    config.attach_stderr = wanted.attach_stderr;
    config.tty = wanted.tty;
    config.open_stdin = wanted.open_stdin;
    config.stdin_once = wanted.stdin_once;
    config.args_escaped = wanted.args_escaped;
    config.network_disabled = wanted.network_disabled;
    config.mac_address = wanted.mac_address;
    config.on_build = wanted.on_build;
    config.stop_signal = wanted.stop_signal;
    config.stop_timeout = wanted.stop_timeout;
    config.exposed_ports.extend(wanted.exposed_ports);
    for pair in wanted.env.into_iter().flatten() {
        let pair = if pair.contains('=') { pair } else { pair + "=" };
        image::set_variable(config.env.get_or_insert_default(), pair);
    }
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if given(&wanted.entrypoint) || given(&wanted.cmd) {
        config.entrypoint = wanted.entrypoint;
        config.cmd = wanted.cmd;
    }
    if wanted.healthcheck.is_some() {
        config.healthcheck = wanted.healthcheck;
    }
    if let Some(volumes) = wanted.volumes.filter(|volumes| !volumes.is_empty()) {
        config.volumes.get_or_insert_default().extend(volumes);
    }
    if let Some(labels) = wanted.labels.filter(|labels| !labels.is_empty()) {
        config.labels.get_or_insert_default().extend(labels);
    }
    if given(&wanted.shell) {
        config.shell = wanted.shell;
    }
}
