//! What happens to images.

use axum::response::Response;
use futures_util::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{ApiVersion, EventFilters, Query};
use crate::api::stream;
use crate::api::wire::libpod::Event;
use crate::engine::EventsOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct EventsQuery {
    /// Only what happened after this time: a date with or without time and zone, Unix seconds, or
    /// a duration back from now, `1h30m`.
    #[param(required = false)]
    since: Option<String>,
    /// Only what happens before this time; a duration counts from now.
    #[param(required = false)]
    until: Option<String>,
    /// Goes on with what happens, until `until` if that is given. True by default.
    #[param(required = false)]
    stream: Option<bool>,
}

/// Follow events
///
/// Everything that this program and Podman write into one log, oldest first. Without `since` and
/// `until` a stream begins with what happens from now on; the answer begins at once. What is done
/// through the routes of this program are events of the type `image`.
#[utoipa::path(
    get,
    path = "/libpod/events",
    tag = "system",
    operation_id = "SystemEventsLibpod",
    params(
        EventsQuery,
        ("filters" = Option<String>, Query, description =
            "JSON, `{\"key\":[\"value\"]}` or `{\"key\":{\"value\":true}}`. Values of one key are \
             alternatives, all keys must match. Keys: type; event or status; image, container, pod \
             or artifact (name, or beginning of the ID); volume (beginning of the name); label \
             (`key` or `key=value` among the attributes)."),
    ),
    responses(
        (status = 200, description = "JSON documents, one a line, as things happen", body = Event),
        (status = 400, description = "Bad parameter, or filters that are not JSON", body = ErrorBody),
        (status = 500, description = "Unknown filter, bad time, no event log, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn events(
    engine: Engine,
    version: ApiVersion,
    query: Query<EventsQuery>,
    EventFilters(filters): EventFilters,
) -> Result<Response, ApiError> {
    let EventsQuery { since, until, stream } = query.params;
    let mut options = EventsOptions::default();
    (options.since, options.until, options.filters) = (since, until, filters);
    options.stream = stream.unwrap_or(true);
    let events = engine.events(options).await?.filter_map(move |event| {
        let event = Event::from(event);
        let strict = version.is_strict_about_events();
        std::future::ready(if strict { event.for_strict_client() } else { Some(event) })
    });
    Ok(stream::documents(events))
}
