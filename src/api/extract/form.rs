//! The form of the tag routes: parameters from the query, or from a form in the body.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use utoipa::{IntoParams, ToSchema};

use super::pairs;
use crate::api::error::ApiError;
use crate::api::stream::small;

/// The largest form body that is read, in bytes.
const FORM_MAX: usize = 64 << 10;

/// A name given in two parts. Parameters may also come as a form in the body, which wins over the
/// query.
#[derive(Debug, Default, PartialEq, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub(crate) struct RepoTag {
    /// Repository, with or without registry. Empty is the same as absent.
    #[param(required = false)]
    #[schema(required = false)]
    pub(crate) repo: String,
    /// Tag. Empty is the same as absent.
    #[param(required = false)]
    #[schema(required = false)]
    pub(crate) tag: String,
}

/// Extracts [`RepoTag`]; of a repeated parameter the first value counts.
#[derive(Debug)]
pub(crate) struct Form(pub(crate) RepoTag);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = match is_form(&request) {
            true => read(request.into_body()).await?,
            false => String::new(),
        };
        let mut values = pairs(&body);
        values.extend(pairs(&query));
        let first = |name| {
            values.iter().find(|(key, _)| key == name).map_or_else(String::new, |(_, v)| v.clone())
        };
        Ok(Self(RepoTag { repo: first("repo"), tag: first("tag") }))
    }
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

async fn read(body: Body) -> Result<String, ApiError> {
    let bytes = small(body, FORM_MAX).await.map_err(|error| error.context("reading the form"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::response::IntoResponse;
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn the_body_wins() {
        for (content_type, body, repo, tag) in [
            ("application/x-www-form-urlencoded", "repo=b&repo=c", "b", "t"),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "tag=u", "q", "u"),
            ("text/plain", "repo=b", "q", "t"),
            ("application/x-www-form-urlencoded", "repo=", "", "t"),
        ] {
            let request = Request::post("/x?repo=q&tag=t")
                .header("content-type", content_type)
                .body(Body::from(body))
                .unwrap();
            let Form(form) = Form::from_request(request, &()).await.unwrap();
            assert_eq!(form, RepoTag { repo: repo.into(), tag: tag.into() }, "{body}");
        }
    }

    #[tokio::test]
    async fn a_huge_form_is_refused() {
        let request = Request::post("/x")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(vec![b'a'; FORM_MAX + 1]))
            .unwrap();
        assert_eq!(status_of(request).await, 400);
    }

    #[tokio::test]
    async fn who_does_not_send_it_is_told_so() {
        let stalled = io::Error::new(io::ErrorKind::TimedOut, "nothing more came");
        let request = Request::post("/x")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from_stream(stream::iter([Ok("repo="), Err(stalled)])))
            .unwrap();
        assert_eq!(status_of(request).await, 408);
    }

    async fn status_of(request: Request) -> u16 {
        let error = Form::from_request(request, &()).await.unwrap_err();
        error.into_response().status().as_u16()
    }
}
