//! An image sent to a registry.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use super::pull::docker_name;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{ApiVersion, Name, Query, RegistryLogins};
use crate::api::stream::{documents, newline};
use crate::api::under_way::{Step, UnderWay};
use crate::api::wire::libpod::PushRecord;
use crate::engine::{
    Error, ErrorKind, PushCompression, PushFormat, PushOptions, PushReport, Result as Outcome,
    Steps,
};
use crate::image::{Logins, go_duration, is_stored_name, transport};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PushQuery {
    /// Where to, `registry/repository:tag`, by default the name; the registry is Docker's if none is
    /// named. `docker://` may be in front.
    #[param(required = false)]
    destination: String,
    /// One answer at the end, instead of records of progress. By default so.
    #[param(required = false)]
    quiet: Option<bool>,
    /// Kind of the manifest: `oci`, or `v2s2`, which is the same as `docker`; by default as stored, as
    /// far as the registry takes it.
    #[param(required = false)]
    format: String,
    /// How layers are packed: `gzip`, which is the default, or `zstd`; `zstd:chunked` is the same as
    /// `zstd`.
    #[param(required = false)]
    compression_format: String,
    /// How hard they are packed.
    #[param(required = false)]
    compression_level: Option<i64>,
    /// Layers that the registry has in another compression are sent all the same. By default so if
    /// `compressionFormat` is given, in this spelling.
    #[param(required = false)]
    force_compression_format: Option<bool>,
    /// Does nothing: signatures are not sent.
    #[param(required = false)]
    remove_signatures: bool,
    /// Does nothing: layers are always packed.
    #[param(required = false)]
    compress: bool,
    /// Of a manifest list that has no image for this platform in the store, send all images.
    #[param(required = false)]
    all: bool,
    /// Whether certificates are checked; otherwise plain HTTP will do if there is no TLS. By
    /// default as `registries.conf` says for the registry. Only in this spelling.
    tls_verify: Option<bool>,
    /// Attempts after the first, for what may go better next time; by default 3. Only in this
    /// spelling.
    #[param(minimum = 0)]
    retry: Option<u64>,
    /// Wait before that, a duration such as `5s`; by default a second, then longer and longer.
    #[param(required = false)]
    retry_delay: String,
}

/// Send an image to a registry
///
/// Layers that the registry has, in any form that is known, are not sent. With `quiet=false` the answer
/// is one JSON record for each line of progress, `{"stream":"…"}`, and one at the end,
/// `{"manifestdigest":"…"}`, which clients before 4.6 do not get, or `{"error":"…"}`.
#[utoipa::path(
    post,
    path = "/libpod/images/{name}/push",
    tag = "images",
    operation_id = "ImagePushLibpod",
    params(
        ("name" = String, Path, description = "Name or ID"),
        PushQuery,
        ("X-Registry-Auth" = Option<String>, Header, description = "Base64url of JSON, a login (`username`, `password`, `identitytoken`) or logins by registry"),
        ("X-Registry-Config" = Option<String>, Header, description = "Base64url of JSON, logins by registry; counts before the other"),
    ),
    responses(
        (status = 200, description = "Done, and a newline; or records of progress", body = String, content_type = "text/plain; charset=us-ascii"),
        (status = 400, description = "Bad parameter or header, no such image, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn push(
    engine: Engine,
    version: ApiVersion,
    Name(name): Name,
    query: Query<PushQuery>,
    logins: Result<RegistryLogins, ApiError>,
) -> Result<Response, ApiError> {
    check_name(name.as_str())?;
    let destination = match &*query.params.destination {
        "" => name.as_str(),
        destination => destination,
    };
    let destination = destination.to_owned();
    docker_name(&destination).map_err(|text| ApiError::new(StatusCode::BAD_REQUEST, text))?;
    let RegistryLogins(logins) = logins?;
    let options = options(&query, logins);
    if query.params.quiet.unwrap_or(true) {
        let pushed = match options {
            Ok(options) => engine.push(&name, &destination, options, Steps::none()).await,
            Err(error) => Err(error),
        };
        return match pushed {
            Ok(_) => Ok(newline(StatusCode::OK)),
            Err(error) => Err(ApiError::from(error)
                .context(format_args!("pushing image {destination:?}"))
                .status(StatusCode::BAD_REQUEST)),
        };
    }
    let engine = Arc::clone(&engine);
    let work = UnderWay::begin(|sender| async move {
        // Whoever does not listen any more need not be told: dropping the work stops it.
        let steps = Steps::new(move |line| {
            let sender = sender.clone();
            async move { drop(sender.send(line).await) }.boxed()
        });
        engine.push(&name, &destination, options?, steps).await
    });
    let with_digest = version.takes_manifest_digest();
    let records = work.steps(None).filter_map(move |step| {
        let record = record(step);
        let wanted = with_digest || !matches!(record, PushRecord::ManifestDigest(_));
        std::future::ready(wanted.then_some(record))
    });
    Ok(documents(records))
}

/// The name must be one that images of a store can have. As to Podman, names of registries pass, and lead
/// nowhere; names that say that they are of a store do not.
fn check_name(name: &str) -> Result<(), ApiError> {
    let text = format!("reference {name:?} must be a storage reference");
    let bad = |text: String| Err(ApiError::new(StatusCode::BAD_REQUEST, text));
    match transport(name) {
        Some(("docker", _)) => Ok(()),
        Some(_) => bad(text),
        None if is_stored_name(name) => Ok(()),
        None => {
            let why = match name.split_once(':') {
                None => "expected colon-separated transport:reference".to_owned(),
                Some((transport, _)) => format!("unknown transport {transport:?}"),
            };
            let error = ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("Invalid image name {name:?}, {why}"),
            );
            Err(error.context(text))
        }
    }
}

/// What is wrong with these is told where other failures of a push are told.
fn options(query: &Query<PushQuery>, logins: Logins) -> Outcome<PushOptions> {
    let bad = |text: String| Error::new(ErrorKind::BadRequest, text);
    let params = &query.params;
    let format = match &*params.format {
        "" => PushFormat::Stored,
        "oci" => PushFormat::Oci,
        "v2s2" | "docker" => PushFormat::Docker,
        "v2s1" => {
            let text = "format \"v2s1\" is not made here, registries take it no more";
            return Err(bad(text.to_owned()));
        }
        other => {
            return Err(bad(format!(
                "unknown format {other:?}. Choose on of the supported formats: 'oci', 'v2s1', or \
                 'v2s2'"
            )));
        }
    };
    let compression = match &*params.compression_format {
        "" | "gzip" => PushCompression::Gzip,
        "zstd" | "zstd:chunked" => PushCompression::Zstd,
        other @ ("bzip2" | "xz" | "lzma") => {
            return Err(bad(format!("layers are not packed with {other} here, but gzip or zstd")));
        }
        other => return Err(bad(format!("cannot find compressor for {other:?}"))),
    };
    let mut options = PushOptions::default();
    (options.format, options.compression) = (format, compression);
    let named = !params.compression_format.is_empty() && query.spelled("compressionFormat");
    options.force_compression = match params.force_compression_format {
        Some(force) => force && !params.compression_format.is_empty(),
        None => named,
    };
    options.compression_level = params.compression_level;
    options.all = params.all;
    options.tls_verify = params.tls_verify.filter(|_| query.spelled("tlsVerify"));
    options.logins = logins;
    let retries = params.retry.filter(|_| query.spelled("retry"));
    options.retries = retries.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX));
    if !params.retry_delay.is_empty() {
        let delay = go_duration(&params.retry_delay)
            .ok_or_else(|| bad(format!("time: invalid duration {:?}", params.retry_delay)))?;
        options.retry_delay = Some(Duration::from_nanos(u64::try_from(delay).unwrap_or(0)));
    }
    Ok(options)
}

fn record(step: Step<PushReport, String>) -> PushRecord {
    match step {
        Step::Told(line) => PushRecord::Stream(line),
        Step::Ended(Ok(report)) => PushRecord::ManifestDigest(report.digest.to_string()),
        Step::Ended(Err(error)) => {
            tracing::warn!(%error, "request failed");
            PushRecord::Error(error.to_string())
        }
    }
}
