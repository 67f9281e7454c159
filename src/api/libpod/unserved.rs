//! What Podman serves below `/libpod` and this program does not: containers and what belongs to
//! them.
//!
//! Clients print the text of an error body, but are at a loss with a bare 404, which to some of
//! them means that the container does not exist. So the families of routes that they know are
//! refused by name.

use axum::http::StatusCode;

use crate::api::error::ApiError;

/// First segments of paths below `/libpod`.
const FAMILIES: [&str; 15] = [
    "artifacts",
    "build",
    "containers",
    "exec",
    "generate",
    "kube",
    "local",
    "manifests",
    "networks",
    "play",
    "pods",
    "quadlets",
    "secrets",
    "system",
    "volumes",
];

/// The refusal of a path that no route matches, if it is of a family that Podman serves.
pub(crate) fn refusal(path: &str) -> Option<ApiError> {
    let family = path.strip_prefix("/libpod/")?.split('/').next()?;
    FAMILIES.contains(&family).then(|| {
        let text = format!("{path} is not served, only images are");
        ApiError::new(StatusCode::NOT_IMPLEMENTED, "not implemented").context(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_whole_segments() {
        for (path, refused) in [
            ("/libpod/containers/json", true),
            ("/libpod/build", true),
            ("/libpod/local/build", true),
            ("/libpod/pods/", true),
            ("/libpod/containersx/json", false),
            ("/libpod/nothing", false),
            ("/containers/json", false),
            ("/libpod/", false),
            ("/libpod", false),
        ] {
            assert_eq!(refusal(path).is_some(), refused, "{path}");
        }
    }
}
