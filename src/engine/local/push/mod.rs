//! Sending images to registries.
//!
//! Nothing is written on the way: a layer's tar is put together from its files, packed, hashed and sent
//! in one pass, and its digest told at the end. What the registry has already, in any form that is
//! known, is not sent; so an image that came from there goes back in no time, with the digest it had.

mod pack;
mod plan;
mod recent;
mod session;

use std::sync::Arc;

use super::{LocalEngine, Shared, failure, policy};
use crate::engine::{Error, ErrorKind, Event, ImageName, PushOptions, PushReport, Result, Steps};
use crate::events::ImageAction;
use crate::image::{ImageId, Reference, registry_reference};
use crate::registry::{Access, Retry, Unreached};
use plan::{ImagePlan, ListPlan};
pub(super) use recent::RecentBlobs;
use session::Session;

/// Sends the image `name`, or the manifest list of that name if there is no image for this platform, or
/// if that cannot be sent: then the list may be what is wanted.
pub(super) async fn push(
    engine: &LocalEngine,
    name: &ImageName,
    destination: &str,
    options: PushOptions,
    steps: Steps<String>,
) -> Result<PushReport> {
    let request = Request { engine, destination, options: Arc::new(options), steps };
    let error = match request.image(name).await {
        Ok(report) => return Ok(report),
        Err(error) => error,
    };
    if matches!(error.kind(), ErrorKind::Canceled | ErrorKind::Exhausted) {
        return Err(error);
    }
    let (list, all) = (name.clone(), request.options.all);
    let is_list = engine.query(move |library| {
        let found = library.lookup(list.as_str(), super::resolve::Lists::Required);
        Ok(found.is_ok())
    });
    if !is_list.await? {
        return Err(error);
    }
    let list = name.clone();
    let plan = engine.query(move |library| plan::list(library, list.as_str(), all)).await?;
    request.list(plan).await
}

/// One push.
struct Request<'a> {
    engine: &'a LocalEngine,
    destination: &'a str,
    options: Arc<PushOptions>,
    steps: Steps<String>,
}

impl Request<'_> {
    async fn image(&self, name: &ImageName) -> Result<PushReport> {
        let name = name.clone();
        let plan = self.engine.query(move |library| plan::image(library, name.as_str())).await?;
        let id = plan.id.clone();
        let sent = self.send_image(plan).await;
        self.tell(id).await?;
        sent
    }

    async fn send_image(&self, mut plan: ImagePlan) -> Result<PushReport> {
        let session = self.session().await?;
        self.ask_policy([&plan.id]).await?;
        self.remember(std::slice::from_mut(&mut plan)).await?;
        let sent = session.image(&plan, None).await;
        self.learn(&session).await?;
        Ok(PushReport { digest: sent?.digest })
    }

    async fn list(&self, plan: ListPlan) -> Result<PushReport> {
        let id = plan.id.clone();
        let sent = self.send_list(plan).await;
        self.tell(id).await?;
        sent
    }

    async fn send_list(&self, mut plan: ListPlan) -> Result<PushReport> {
        let session = self.session().await?;
        self.ask_policy(plan.images.iter().map(|image| &image.id)).await?;
        self.remember(&mut plan.images).await?;
        let sent = session.list(&plan).await;
        self.learn(&session).await?;
        Ok(PushReport { digest: sent? })
    }

    /// Prepares to reach the registry. Mirrors, and other locations that `registries.conf` gives a
    /// registry, are for reading only.
    async fn session(&self) -> Result<Session<'_>> {
        let target = registry_reference(self.destination)
            .map_err(|text| Error::new(ErrorKind::BadReference, text))?;
        let options = &*self.options;
        let access = Access { logins: options.logins.clone(), tls_verify: options.tls_verify };
        let settings = &self.engine.shared.options.registry;
        let unreached = Unreached::new(settings, &target, &access).await.map_err(|error| {
            let place = format!("initializing destination docker://{}", familiar(&target));
            failure::registry(error).context(place)
        })?;
        let attempts = options.retries.unwrap_or(Retry::default().attempts);
        let retry = Retry { attempts, delay: options.retry_delay };
        Ok(Session::new(self.engine, options, &self.steps, target, unreached, retry))
    }

    /// Whether the signature policy lets images of the store out.
    async fn ask_policy(&self, images: impl IntoIterator<Item = &ImageId>) -> Result<()> {
        let images: Vec<_> = images.into_iter().cloned().collect();
        let check = move |shared: &Shared| {
            images.iter().try_for_each(|id| policy::check_stored(shared, id))
        };
        self.engine.quick(move |shared, _| check(shared)).await
    }

    /// Adds what is remembered of the layers' blobs.
    async fn remember(&self, plans: &mut [ImagePlan]) -> Result<()> {
        let layers = plans.iter().flat_map(|plan| &plan.layers);
        let layers: Vec<_> = layers.map(|layer| layer.diff_id.clone()).collect();
        let known = self.engine.quick(move |shared, _| Ok(shared.forms.find(&layers))).await?;
        for plan in plans {
            plan.remember(&known);
        }
        Ok(())
    }

    /// Remembers what was seen of the layers' blobs, also by a push that failed.
    async fn learn(&self, session: &Session<'_>) -> Result<()> {
        let seen = session.seen();
        self.engine
            .quick(move |shared, _| {
                shared.forms.record(&seen);
                Ok(())
            })
            .await
    }

    /// Also of an attempt that failed, as Podman does.
    async fn tell(&self, id: ImageId) -> Result<()> {
        let event = Event::of_image(ImageAction::Push, &id, self.destination);
        self.engine
            .quick(move |shared, _| {
                shared.events.tell_all(&[event]);
                Ok(())
            })
            .await
    }
}

/// A reference as Docker shows it: without its registry, if that is Docker's.
fn familiar(reference: &Reference) -> String {
    let text = reference.to_string();
    match text.strip_prefix("docker.io/") {
        Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
        None => text,
    }
}
