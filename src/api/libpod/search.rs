//! What registries have.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Query, RegistryLogins, search_filters};
use crate::api::wire::{self, libpod::Search};
use crate::engine::SearchOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SearchQuery {
    /// Part of the names to find, with a registry and a slash in front to ask only that one. With
    /// `listTags` the whole name.
    #[param(required = false)]
    term: String,
    /// The most results of each registry. 0: 25.
    #[param(required = false)]
    limit: i64,
    /// List the tags of the repository `term` instead.
    #[param(required = false)]
    list_tags: bool,
    /// Whether certificates are checked; otherwise plain HTTP will do if there is no TLS. By
    /// default as `registries.conf` says for the registry. Only in this spelling.
    tls_verify: Option<bool>,
    /// JSON, `{"name":["value"]}`; of each name the first value counts. `stars`: at least so many;
    /// `is-official` and `is-automated`, which `false` negates.
    #[param(required = false)]
    filters: String,
}

/// Search registries
///
/// Asks the registry of `term`, or else the search registries of this host: their index of
/// `/v1/search` if they have one, else their catalog.
#[utoipa::path(
    get,
    path = "/libpod/images/search",
    tag = "images",
    operation_id = "ImageSearchLibpod",
    params(
        SearchQuery,
        ("X-Registry-Auth" = Option<String>, Header, description = "Base64url of JSON, a login (`username`, `password`, `identitytoken`) or logins by registry"),
        ("X-Registry-Config" = Option<String>, Header, description = "Base64url of JSON, logins by registry; counts before the other"),
    ),
    responses(
        (status = 200, description = "Results of all registries that answered", body = Vec<Search>),
        (status = 400, description = "Bad parameter or header", body = ErrorBody),
        (status = 500, description = "Bad filter, or no registry gave results and one failed", body = ErrorBody),
    )
)]
pub(crate) async fn search(
    engine: Engine,
    query: Query<SearchQuery>,
    RegistryLogins(logins): RegistryLogins,
) -> Result<Response, ApiError> {
    let tls_verify = query.params.tls_verify.filter(|_| query.spelled("tlsVerify"));
    let SearchQuery { term, limit, list_tags, filters, .. } = query.params;
    let filters = search_filters(&filters)?;
    let options = SearchOptions { limit, list_tags, filters, tls_verify, logins };
    let hits = engine.search(&term, options).await?;
    Ok(wire::ok(&hits.into_iter().map(Search::from).collect::<Vec<_>>()))
}
