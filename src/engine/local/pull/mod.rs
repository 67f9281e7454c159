//! Bringing images from registries, and from wherever else they are.
//!
//! | file | its one job |
//! |---|---|
//! | this one | which references a name stands for, and which of them are asked |
//! | [`hosted`] | images that are not in registries |
//! | [`image`] | one image: manifest, config, layers, commit |
//! | [`layers`] | what of it is in the store |
//! | [`flight`], [`flights`] | layers on their way, each once however many want it |

mod flight;
mod flights;
mod hosted;
mod image;
mod layers;

use self::image::{Copied, Copy, RemoteImage};
use super::resolve::Lists;
use super::{LocalEngine, failure};
use crate::engine::{
    Error, ErrorKind, Event, ImageName, PullOptions, PullPolicy, PullProgress, PullReport, Result,
};
use crate::events::{Event as LoggedEvent, ImageAction};
use crate::image::{Digest, ImageId, Platform, Reference};
use crate::registry::{self, Access, Question, Retry};
pub(super) use flights::Flights;
pub(super) use hosted::pull as pull_hosted;

/// Brings what `name` stands for.
pub(super) async fn pull(
    engine: &LocalEngine,
    name: &ImageName,
    options: PullOptions,
    progress: &PullProgress,
) -> Result<PullReport> {
    let pulling = Pulling::new(engine, options, progress);
    let name = name.as_str();
    if is_id(name) {
        return pulling.by_id(name).await;
    }
    let parsed = Reference::parse(name).map_err(|error| {
        Error::from_source(ErrorKind::BadReference, &error)
            .context(format!("parsing reference {name:?}"))
    })?;
    // With a digest the tag means nothing.
    let name =
        if parsed.digest().is_some() { parsed.tagged().to_string() } else { name.to_owned() };
    let names = if pulling.all_tags { pulling.tags(&name).await? } else { vec![name] };
    let mut report = PullReport::default();
    for name in names {
        let pulled = pulling.one(&name).await;
        tell(engine, &name, &pulled).await;
        report.images.push(pulled?);
    }
    Ok(report)
}

/// Whether a name can only be the ID of a local image.
fn is_id(name: &str) -> bool {
    let bare = name.len() == 64 && !name.contains(['/', '.', ':', '@']);
    bare || name.starts_with("sha256:")
}

/// A pull under way.
struct Pulling<'a> {
    engine: &'a LocalEngine,
    progress: &'a PullProgress,
    policy: PullPolicy,
    all_tags: bool,
    platform: Platform,
    /// The caller has named a platform.
    explicit_platform: bool,
    access: Access,
    retry: Retry,
}

/// What the store has under a name.
#[derive(Debug, Clone)]
struct Local {
    id: ImageId,
    resolved: String,
    by_id: bool,
    digests: Vec<Digest>,
}

impl<'a> Pulling<'a> {
    fn new(engine: &'a LocalEngine, options: PullOptions, progress: &'a PullProgress) -> Self {
        let PullOptions { policy, all_tags, platform, tls_verify, logins, retries, retry_delay } =
            options;
        let explicit_platform = platform != Platform::default();
        let platform = completed(platform);
        let policy = match policy {
            PullPolicy::Missing if explicit_platform => PullPolicy::Newer,
            policy => policy,
        };
        let retry =
            Retry { attempts: retries.unwrap_or(Retry::default().attempts), delay: retry_delay };
        let access = Access { logins, tls_verify };
        Self { engine, progress, policy, all_tags, platform, explicit_platform, access, retry }
    }

    /// The image with an ID: there is nothing to pull by it.
    async fn by_id(&self, name: &str) -> Result<PullReport> {
        if self.policy == PullPolicy::Always {
            return Err(always_by_id(name));
        }
        let name = name.to_owned();
        let lookup = move |library: &super::Library<'_>| {
            Ok(library.lookup(&name, Lists::Instance)?.image.record.id.clone())
        };
        Ok(PullReport { images: vec![self.engine.query(lookup).await?] })
    }

    /// Each tag of the repository of `name`, as names.
    async fn tags(&self, name: &str) -> Result<Vec<String>> {
        let candidates = self.candidates(name)?;
        let settings = &self.engine.shared.options.registry;
        let mut failures = Vec::new();
        for candidate in candidates {
            match registry::repository_tags(settings, &candidate, usize::MAX, &self.access).await {
                Ok(tags) => {
                    let repository = candidate.repository();
                    return Ok(tags.iter().map(|tag| format!("{repository}:{tag}")).collect());
                }
                Err(error) => failures.push(failure::transfer(error)),
            }
        }
        Err(joined(failures))
    }

    /// Pulls one name, or finds what the store has.
    async fn one(&self, name: &str) -> Result<ImageId> {
        let local = self.local(name).await;
        match (self.policy, &local) {
            (PullPolicy::Never, None) => return Err(Error::image_not_known().context(name)),
            (PullPolicy::Never | PullPolicy::Missing, Some(local)) => return Ok(local.id.clone()),
            (PullPolicy::Always, Some(local)) if local.by_id => return Err(always_by_id(name)),
            (_, Some(local)) if local.by_id => return Ok(local.id.clone()),
            _ => {}
        }
        let named = local.as_ref().filter(|_| !self.explicit_platform);
        let named = named.map_or(name, |local| &local.resolved);
        let mut description = self.engine.shared.options.short_names.description(named);
        let mut failures = Vec::new();
        for candidate in self.candidates(named)? {
            let mut remote = None;
            if let (PullPolicy::Newer, Some(local)) = (self.policy, &local) {
                match self.find(&candidate).await {
                    Ok(found) if self.is_same(&found, local).await => continue,
                    Ok(found) => remote = Some(found),
                    Err(error) => {
                        failures.push(error);
                        continue;
                    }
                }
            }
            if let Some(description) = description.take() {
                self.progress.text(description).await;
            }
            self.progress.text(format!("Trying to pull {candidate}...")).await;
            match self.copy(&candidate, remote).await {
                Ok(copied) => {
                    self.compare_platforms(&copied.platform).await;
                    return Ok(copied.id);
                }
                Err(error) => {
                    if error.kind() == ErrorKind::Canceled {
                        return Err(error);
                    }
                    failures.push(error);
                }
            }
        }
        match local {
            Some(local) if self.policy == PullPolicy::Newer => Ok(local.id),
            _ => Err(joined(failures)),
        }
    }

    /// What the store has under `name`. An image that cannot be read is none.
    async fn local(&self, name: &str) -> Option<Local> {
        let name = name.to_owned();
        let (platform, explicit) = (self.platform.clone(), self.explicit_platform);
        let lookup = move |library: &super::Library<'_>| {
            let found = library.lookup(&name, Lists::Instance)?;
            let documents = library.documents(found.at)?;
            let own = documents.config.as_ref().map(crate::image::ImageConfig::platform);
            if explicit && !own.is_some_and(|own| own.satisfies(&platform)) {
                return Err(Error::image_not_known());
            }
            let record = &found.image.record;
            Ok(Local {
                id: record.id.clone(),
                resolved: found.resolved.clone(),
                by_id: found.is_by_id(),
                digests: record.digests().into_iter().cloned().collect(),
            })
        };
        self.engine.query(lookup).await.ok()
    }

    /// The full references that `name` may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Result<Vec<Reference>> {
        let candidates = self.engine.shared.options.short_names.chosen_candidates(name);
        candidates.map_err(|error| Error::from_source(ErrorKind::BadReference, &error))
    }

    /// Whether the store has what a registry has.
    async fn is_same(&self, remote: &RemoteImage, local: &Local) -> bool {
        local.digests.contains(&remote.top.digest())
    }

    async fn find(&self, candidate: &Reference) -> Result<RemoteImage> {
        let settings = &self.engine.shared.options.registry;
        let found = registry::find(settings, candidate, &self.access, &self.retry).await;
        let (repository, top) = found.map_err(|error| {
            let place = format!("initializing source docker://{}", candidate.familiar());
            failure::transfer(error).context(place)
        })?;
        Ok(RemoteImage { repository, top })
    }

    async fn copy(&self, candidate: &Reference, remote: Option<RemoteImage>) -> Result<Copied> {
        let Self { engine, platform, retry, progress, .. } = self;
        let copy = Copy { engine, platform, retry: *retry, progress };
        let copied = async {
            let remote = match remote {
                Some(remote) => remote,
                None => self.find(candidate).await?,
            };
            // By the name that is wanted, wherever it was found.
            let settings = &engine.shared.options.registry;
            let question = Question { reference: candidate, platform, access: &self.access };
            let admission = registry::admit(settings, question).await;
            copy.run(remote, candidate, &admission.map_err(failure::registry)?).await
        };
        copied.await.map_err(|error| {
            error.context(format!("unable to copy from source docker://{}", candidate.familiar()))
        })
    }

    /// A registry without a list gives what it has, whatever was asked for.
    async fn compare_platforms(&self, found: &Platform) {
        if found.satisfies(&self.platform) {
            return;
        }
        let (found, wanted) = (words(found), words(&self.platform));
        let text = format!(
            "WARNING: image platform ({found}) does not match the expected platform ({wanted})"
        );
        self.progress.text(text).await;
    }
}

/// Writes the event.
async fn tell(engine: &LocalEngine, name: &str, pulled: &Result<ImageId>) {
    let event = match pulled {
        Ok(id) => Event::of_image(ImageAction::Pull, id, name),
        Err(error) => {
            let mut event = LoggedEvent::now("image", ImageAction::PullError.as_str());
            name.clone_into(&mut event.name);
            event.error = error.to_string();
            event
        }
    };
    let told = engine.quick(move |shared, _| {
        shared.events.tell_all(&[event]);
        Ok(())
    });
    // Only a program that stops does not write it.
    drop(told.await);
}

/// What is empty is the host's.
fn completed(platform: Platform) -> Platform {
    let host = Platform::host();
    let or = |given: String, host: String| if given.is_empty() { host } else { given };
    // The host's variant is one of the host's architecture only.
    let variant = if platform.architecture.is_empty() { host.variant } else { String::new() };
    Platform {
        variant: or(platform.variant, variant),
        os: or(platform.os, host.os),
        architecture: or(platform.architecture, host.architecture),
    }
}

/// A platform as people write it.
fn words(platform: &Platform) -> String {
    let Platform { os, architecture, variant } = platform;
    if variant.is_empty() {
        format!("{os}/{architecture}")
    } else {
        format!("{os}/{architecture}/{variant}")
    }
}

fn always_by_id(name: &str) -> Error {
    let text = format!("pull policy is always but image has been referred to by ID ({name})");
    Error::new(ErrorKind::BadRequest, text)
}

/// What all candidates failed with, in the form of the tools: the only one as it is. Of several the
/// first refusal decides what the whole means.
fn joined(mut failures: Vec<Error>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    if failures.is_empty() {
        return Error::new(ErrorKind::Registry, "no image was pulled");
    }
    let mut text = format!("{} errors occurred while pulling:", failures.len());
    for error in &failures {
        text.push_str(&format!("\n * {error}"));
    }
    let refused = failures.iter().map(Error::kind);
    let kind = refused.into_iter().find(|kind| matches!(kind, ErrorKind::Refused(_)));
    Error::new(kind.unwrap_or(ErrorKind::Registry), text)
}
