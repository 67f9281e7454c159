//! An image from a registry, or from wherever else it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{OwnUser, Query, RegistryLogins};
use crate::api::under_way::{Step, UnderWay};
use crate::api::wire::{
    self,
    libpod::{DockerError, DockerPullRecord, DockerStreamError, PullRecord, Pulled},
};
use crate::engine::{
    ErrorKind, ImageName, PullEvent, PullOptions, PullPolicy, PullProgress, PullReport,
    Result as Outcome,
};
use crate::image::{HostedImage, Platform, go_duration, go_json};

/// How long the answer waits for the first blob, and so for a status that says something.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PullQuery {
    /// What to pull: a name, with a registry or without, with a tag or a digest. May begin with
    /// `docker://`. Or an image that is not in a registry: `docker-archive:PATH[:NAME]`,
    /// `docker-archive:PATH:@INDEX`, `oci-archive:PATH[:NAME]`, `oci:PATH[:NAME]`, `dir:PATH`, with an
    /// absolute path on the server, or `docker-daemon:NAME:TAG`: only for the user the server runs as,
    /// over a Unix socket.
    #[param(required = true)]
    reference: String,
    /// `always`, which is the default, `missing`, `newer` or `never`, whatever the case. Only for
    /// registries: what is anywhere else is always pulled.
    #[param(required = false)]
    policy: String,
    /// Answer with one document, without progress.
    #[param(required = false)]
    quiet: bool,
    /// Pull every tag of the repository; only from registries.
    #[param(required = false)]
    all_tags: bool,
    /// Architecture, by default the host's.
    #[serde(rename = "Arch")]
    #[param(required = false)]
    arch: String,
    /// Operating system, by default the host's.
    #[serde(rename = "OS")]
    #[param(required = false)]
    os: String,
    /// Variant of the architecture, by default the host's.
    #[serde(rename = "Variant")]
    #[param(required = false)]
    variant: String,
    /// Whether certificates are checked; otherwise plain HTTP will do if there is no TLS. By
    /// default as `registries.conf` says for the registry. Only in this spelling.
    tls_verify: Option<bool>,
    /// Records in Docker's form.
    #[param(required = false)]
    compat_mode: bool,
    /// Also records of single blobs.
    #[param(required = false)]
    pull_progress: bool,
    /// Attempts after the first, for what may go better next time; by default 3. Only in this
    /// spelling.
    #[param(minimum = 0)]
    retry: Option<u64>,
    /// Wait before each of them, as `1s` or `500ms`. Only in this spelling.
    #[serde(rename = "retrydelay")]
    #[param(required = false)]
    retry_delay: String,
}

/// What is to be pulled.
enum Wanted {
    /// From a registry.
    Named(ImageName),
    /// From elsewhere.
    Hosted(HostedImage),
}

/// What the records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    TextAndBlobs,
    Docker,
}

/// Pull an image
///
/// The answer is one JSON record for each thing that happens. Its head waits for the first blob, for
/// five seconds or for the end, so that a pull that fails early has a status that says why: that of
/// the registry's refusal. Later failures are told by the last record.
#[utoipa::path(
    post,
    path = "/libpod/images/pull",
    tag = "images",
    operation_id = "ImagePullLibpod",
    params(
        PullQuery,
        ("X-Registry-Auth" = Option<String>, Header, description = "Base64url of JSON, a login (`username`, `password`, `identitytoken`) or logins by registry"),
        ("X-Registry-Config" = Option<String>, Header, description = "Base64url of JSON, logins by registry; counts before the other"),
    ),
    responses(
        (status = 200, description = "Records of progress, or with `quiet` the only document, which has no `status`", body = PullRecord),
        (status = 400, description = "Bad parameter or header, or the registry found the request invalid", body = ErrorBody),
        (status = 401, description = "The registry wants another login", body = ErrorBody),
        (status = 403, description = "The registry denies access, or a file of the server is not for this caller", body = ErrorBody),
        (status = 404, description = "The registry has no such image, or the server no such file", body = ErrorBody),
        (status = 405, description = "The registry does not do this", body = ErrorBody),
        (status = 429, description = "The registry was asked too often", body = ErrorBody),
        (status = 413, description = "More than the limits of the server allow", body = ErrorBody),
        (status = 500, description = "No image, no registry, or failure", body = ErrorBody),
        (status = 503, description = "The registry is not available, or the service is stopping", body = ErrorBody),
        (status = 507, description = "No space left", body = ErrorBody),
    )
)]
pub(crate) async fn pull(
    engine: Engine,
    query: Query<PullQuery>,
    logins: Result<RegistryLogins, ApiError>,
    user: Result<OwnUser, ApiError>,
) -> Result<Response, ApiError> {
    let (wanted, form, options) = read(&query, logins)?;
    if matches!(wanted, Wanted::Hosted(_)) {
        user?;
    }
    let engine = Arc::clone(&engine);
    let pull = |progress| async move {
        match wanted {
            Wanted::Named(name) => engine.pull(&name, options, progress).await,
            Wanted::Hosted(image) => engine.pull_hosted(&image, options.platform, progress).await,
        }
    };
    if query.params.quiet {
        let report = pull(PullProgress::none()).await.map_err(failed)?;
        return Ok(wire::ok(&Pulled::from(report)));
    }
    let work = UnderWay::begin(|sender| async move {
        let progress = PullProgress::new(move |event| {
            let sender = sender.clone();
            // Whoever does not listen any more need not be told.
            async move { drop(sender.send(event).await) }.boxed()
        });
        pull(progress).await
    });
    streamed(work, form).await
}

/// The parameters, in the order in which Podman finds fault with them.
fn read(
    query: &Query<PullQuery>,
    logins: Result<RegistryLogins, ApiError>,
) -> Result<(Wanted, Form, PullOptions), ApiError> {
    let bad = |text: String| ApiError::new(StatusCode::BAD_REQUEST, text);
    let params = &query.params;
    let form = match (params.compat_mode, params.pull_progress, params.quiet) {
        (true, true, _) => Err("'compatMode' and 'pullProgress'"),
        (true, _, true) => Err("'compatMode' and 'quiet'"),
        (_, true, true) => Err("'pullProgress' and 'quiet'"),
        (true, ..) => Ok(Form::Docker),
        (_, true, _) => Ok(Form::TextAndBlobs),
        _ => Ok(Form::Text),
    };
    let form = form.map_err(|both| bad(format!("{both} cannot be used simultaneously")))?;
    if params.reference.is_empty() {
        return Err(bad("reference parameter cannot be empty".to_owned()));
    }
    let wanted = match HostedImage::parse(&params.reference) {
        Some(image) => Wanted::Hosted(image.map_err(bad)?),
        None => Wanted::Named(docker_name(&params.reference).map_err(bad)?),
    };
    if let Wanted::Hosted(image) = &wanted
        && params.all_tags
    {
        let transport = image.transport();
        let text = format!("pulling all tags is not supported for {transport} transport");
        return Err(bad(text));
    }
    let RegistryLogins(logins) = logins?;
    let policy = match params.policy.to_ascii_lowercase().as_str() {
        "" | "always" => PullPolicy::Always,
        "missing" | "ifmissing" | "ifnotpresent" => PullPolicy::Missing,
        "newer" | "ifnewer" => PullPolicy::Newer,
        "never" => PullPolicy::Never,
        _ => return Err(bad(format!("unsupported pull policy {:?}", params.policy))),
    };
    let mut options = PullOptions::default();
    if query.spelled("retrydelay") && !params.retry_delay.is_empty() {
        let delay = go_duration(&params.retry_delay)
            .ok_or_else(|| bad(format!("time: invalid duration {:?}", params.retry_delay)))?;
        options.retry_delay = Some(Duration::from_nanos(u64::try_from(delay).unwrap_or(0)));
    }
    let retries = params.retry.filter(|_| query.spelled("retry"));
    options.retries = retries.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX));
    options.tls_verify = params.tls_verify.filter(|_| query.spelled("tlsVerify"));
    options.platform = Platform {
        os: params.os.clone(),
        architecture: params.arch.clone(),
        variant: params.variant.clone(),
    };
    (options.policy, options.all_tags, options.logins) = (policy, params.all_tags, logins);
    Ok((wanted, form, options))
}

/// A name without `docker://`. Other transports are refused.
pub(crate) fn docker_name(reference: &str) -> Result<ImageName, String> {
    const OTHERS: [&str; 9] = [
        "containers-storage",
        "dir",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "ostree",
        "sif",
        "tarball",
    ];
    if let Some(name) = reference.strip_prefix("docker://") {
        return Ok(ImageName::new(name));
    }
    match reference.split_once(':') {
        Some((transport, _)) if OTHERS.contains(&transport) => Err(format!(
            "unsupported transport {transport} in {reference:?}: only docker transport is supported"
        )),
        _ => Ok(ImageName::new(reference)),
    }
}

/// A pull whose answer has begun.
struct Answer {
    work: UnderWay<PullReport, PullEvent>,
    form: Form,
    /// What was told before the answer began; the first is the next.
    told: std::collections::VecDeque<Step<PullReport, PullEvent>>,
}

/// Begins the answer when the pull brings something, or has been at it for a while.
async fn streamed(
    mut work: UnderWay<PullReport, PullEvent>,
    form: Form,
) -> Result<Response, ApiError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut told = std::collections::VecDeque::new();
    let until = Instant::now() + PATIENCE;
    loop {
        let step = tokio::select! {
            biased;
            step = work.next() => step,
            () = sleep_until(until) => break,
        };
        match step {
            Some(Step::Ended(Err(error))) => return refused(error, form),
            Some(step) => {
                let begins = matches!(step, Step::Ended(_) | Step::Told(PullEvent::Blob { .. }));
                told.push_back(step);
                if begins {
                    break;
                }
            }
            None => break,
        }
    }
    let records = stream::unfold(Answer { work, form, told }, |mut answer| async move {
        let record = answer.next().await?;
        Some((Ok::<_, Infallible>(record), answer))
    });
    Ok(([(header::CONTENT_TYPE, JSON)], Body::from_stream(records)).into_response())
}

/// The answer of a pull that has failed before it began.
fn refused(error: crate::engine::Error, form: Form) -> Result<Response, ApiError> {
    if form != Form::Docker {
        return Err(failed(error));
    }
    let message = error.cause().to_owned();
    let status = failed(error).into_response().status();
    Ok(wire::document(status, &DockerError { message }))
}

/// An image that is not there and is not to be pulled either is no lookup that failed, to Podman.
fn failed(error: crate::engine::Error) -> ApiError {
    let is_local = error.kind() == ErrorKind::NoSuchImage;
    let error = ApiError::from(error);
    if is_local { error.status(StatusCode::INTERNAL_SERVER_ERROR) } else { error }
}

impl Answer {
    /// The next record, as a line; `None` after the last.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let step = match self.told.pop_front() {
                Some(step) => step,
                None => self.work.next().await?,
            };
            let line = match (step, self.form) {
                (Step::Told(PullEvent::Text(text)), Form::Text | Form::TextAndBlobs) => {
                    line(&PullRecord::text(text))
                }
                (Step::Told(PullEvent::Blob { digest, stage }), Form::TextAndBlobs) => {
                    line(&PullRecord::blob(&digest, stage))
                }
                (Step::Told(PullEvent::Blob { digest, stage }), Form::Docker) => {
                    line(&DockerPullRecord::blob(&digest, stage))
                }
                (Step::Told(_), _) => continue,
                (Step::Ended(outcome), form) => last(outcome, form),
            };
            return Some(line);
        }
    }
}

fn last(outcome: Outcome<PullReport>, form: Form) -> Bytes {
    match (outcome, form) {
        (Ok(report), Form::Docker) => line(&DockerPullRecord::success(&report)),
        (Ok(report), _) => line(&PullRecord::success(report)),
        (Err(error), form) => {
            tracing::warn!(%error, "request failed");
            match form {
                Form::Docker => line(&DockerStreamError::new(error.to_string())),
                _ => line(&PullRecord::error(error.to_string())),
            }
        }
    }
}

fn line<T: Serialize>(record: &T) -> Bytes {
    // Records are plain structs of texts and numbers: always JSON.
    let mut json = go_json::to_vec(record).unwrap_or_default();
    json.push(b'\n');
    json.into()
}
