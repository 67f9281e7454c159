//! What registries have.

use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::SearchHit;

/// One hit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageSearch)]
pub(crate) struct Search {
    /// The registry.
    index: String,
    /// Registry and repository.
    name: String,
    description: String,
    stars: i64,
    /// `[OK]` if the registry vouches for it.
    official: &'static str,
    /// `[OK]` if it is built by the registry.
    automated: &'static str,
    /// The tag, when tags were asked for.
    tag: String,
}

impl From<SearchHit> for Search {
    fn from(hit: SearchHit) -> Self {
        let mark = |yes| if yes { "[OK]" } else { "" };
        Self {
            index: hit.index,
            name: hit.name,
            description: hit.description,
            stars: hit.stars,
            official: mark(hit.official),
            automated: mark(hit.automated),
            tag: hit.tag,
        }
    }
}
