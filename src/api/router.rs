//! The table of contents: every route, once.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;
use utoipa::{OpenApi as _, Path as _};
use utoipa_axum::PathItemExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Access, REFERENCE_ID, reference_id};
use super::canonical::{Canonical, IMAGES, canonical};
use super::describe;
use super::extract::RequestTarget;
use super::{DOCKER_API_VERSION, LIBPOD_VERSION, docker, libpod};
use crate::engine::ImageEngine;

/// What the API says about the daemon that the engine does not know.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The address clients connect to, as `unix:///path`; shown by `info`.
    pub remote_socket: Option<String>,
    /// The user the program runs as. Only its requests, over Unix sockets whose server attaches
    /// the peer's `UCred` to them, can name files of the host.
    pub user: Option<u32>,
}

/// What handlers can ask for with `State`.
#[derive(Debug, Clone, FromRef)]
pub(crate) struct Shared {
    engine: Arc<dyn ImageEngine>,
    settings: Arc<Settings>,
}

/// All routes, put into `$router` by `$routes`: with their descriptions or, which takes a fraction of the
/// time and memory, without.
macro_rules! table {
    ($router:ident, $first:expr, $routes:ident) => {{
        use docker::auth;
        use libpod::{
            changes, commit, disk_usage, events, exists, export, get, history, import, info,
            inspect, list, load, local_load, ping, prune, pull, push, remove, remove_one, resolve,
            scp, search, tag, tree, untag, version,
        };

        let ping = $first
            .routes($routes!(ping::ping, ping::ping_head))
            .routes($routes!(ping::libpod_ping, ping::libpod_ping_head));
        let others = $router::new()
            .routes($routes!(version::version))
            .routes($routes!(version::libpod_version))
            .routes($routes!(info::info))
            .routes($routes!(disk_usage::disk_usage))
            .routes($routes!(events::events))
            .routes($routes!(list::list))
            .routes($routes!(load::load))
            .routes($routes!(local_load::load))
            .routes($routes!(import::import))
            .routes($routes!(pull::pull))
            .routes($routes!(commit::commit))
            .routes($routes!(export::export))
            .routes($routes!(remove::remove))
            .routes($routes!(remove_one::remove_one))
            .routes($routes!(search::search))
            .routes($routes!(auth::auth))
            .routes($routes!(prune::prune))
            .routes($routes!(exists::exists))
            .routes($routes!(inspect::inspect))
            .routes($routes!(history::history))
            .routes($routes!(tree::tree))
            .routes($routes!(resolve::resolve))
            .routes($routes!(changes::image_changes))
            .routes($routes!(changes::container_changes))
            .routes($routes!(get::get))
            .routes($routes!(push::push))
            .routes($routes!(tag::tag))
            .routes($routes!(untag::untag))
            .routes($routes!(scp::scp));
        // axum answers HEAD wherever there is a GET; Podman only where it says so.
        ping.merge(others.route_layer(from_fn(refuse_head)))
    }};
}

/// The methods and the path of handlers, as their descriptions have them.
macro_rules! served {
    ($($module:ident :: $handler:ident),+) => {
        pastey::paste! {{
            let mut methods = MethodRouter::new();
            let mut paths = Vec::new();
            $(
                for method in $module::[<__path_ $handler>]::methods() {
                    methods = methods.on(method.to_method_filter(), $module::$handler);
                }
                paths.push($module::[<__path_ $handler>]::path());
            )+
            (paths, methods)
        }}
    };
}

/// A router that takes routes without a description.
trait Served {
    fn routes(self, routes: (Vec<String>, MethodRouter<Shared>)) -> Self;
}

impl Served for Router<Shared> {
    /// Several handlers share one path.
    fn routes(self, (paths, methods): (Vec<String>, MethodRouter<Shared>)) -> Self {
        match paths.first() {
            Some(path) => self.route(path, methods),
            None => self,
        }
    }
}

fn described() -> OpenApiRouter<Shared> {
    table!(OpenApiRouter, OpenApiRouter::with_openapi(Description::openapi()), routes)
}

fn served() -> Router<Shared> {
    table!(Router, Router::new(), served)
}

/// The API as a tower service, for any engine. `api::Api::new` takes settings too.
pub fn router(engine: Arc<dyn ImageEngine>) -> Api {
    Api::new(engine, Settings::default())
}

/// The description of the API, made from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    describe::complete(described().into_openapi())
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "imaged",
        description = "The image part of Podman's libpod API.\n\n\
            Every path under `/libpod` but `_ping` needs the prefix `/v<version>`, the client's \
            own version; any is accepted. Names in paths may contain slashes, plain or escaped.\n\n\
            A path that is not clean (`//`, `.`, `..`) is answered with 301 and the clean path in \
            `Location`, whatever the method. Unknown paths answer 404 `Not Found`, known ones with \
            another method 405 `Method Not Allowed`, both as plain text; every path below \
            `/libpod/images/` is known. `HEAD` is for `_ping` only. These answers carry none of \
            the headers `Api-Version`, `Libpod-Api-Version`, `Server` and `X-Reference-Id`, which \
            all others have.\n\n\
            Paths of containers, pods, volumes and the other families of libpod answer 501 with \
            an error body.\n\n\
            Query parameters are read as Podman reads them. Names match whatever their case, and \
            unknown ones are ignored. An empty value is the same as none. Of a parameter that is \
            repeated and not a list the last value counts. A boolean may also be `1`, `t`, `T`, \
            `True`, `TRUE` or `on`, and `0`, `f`, `F`, `False` or `FALSE`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((
        url = "/v{version}",
        variables(("version" = (default = "6.0.0", description = "Version of the client")))
    )),
)]
struct Description;

/// The service: folds the target, routes it, sets the headers, writes the log event.
#[derive(Debug, Clone)]
pub struct Api {
    router: Router,
}

impl Api {
    /// Serves `engine`.
    pub fn new(engine: Arc<dyn ImageEngine>, settings: Settings) -> Self {
        let shared = Shared { engine, settings: Arc::new(settings) };
        let router = served()
            .method_not_allowed_fallback(async || method_not_allowed())
            .fallback(fallback)
            .with_state(shared);
        Self { router }
    }
}

impl Service<Request> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An axum router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let router = self.router.clone();
        let id = reference_id(&request);
        let access = Access::begin(&request, &id);
        let span = access.span();
        let answer = async move {
            let mut response = dispatch(router, request).await;
            match response.extensions().get::<RouterMade>() {
                None => set_headers(&mut response, id),
                // axum's list of methods has HEAD wherever there is GET. Podman sends none.
                Some(RouterMade) => drop(response.headers_mut().remove(header::ALLOW)),
            }
            Ok(access.follow(response))
        };
        Box::pin(answer.instrument(span))
    }
}

async fn dispatch(router: Router, mut request: Request) -> Response {
    match canonical(request.method(), request.uri()) {
        Canonical::Redirect { location } => redirect(&location),
        Canonical::Unknown => not_found(),
        Canonical::Route { target, version } => {
            let Ok(uri) = Uri::try_from(target) else { return not_found() };
            let original = std::mem::replace(request.uri_mut(), uri);
            let original = original.path_and_query().map_or("", |target| target.as_str());
            request.extensions_mut().insert(RequestTarget(original.to_owned()));
            if let Some(version) = version {
                request.extensions_mut().insert(version);
            }
            let Ok(response) = router.oneshot(request).await;
            response
        }
    }
}

fn set_headers(response: &mut Response, id: HeaderValue) {
    const LIBPOD_API_VERSION: HeaderName = HeaderName::from_static("libpod-api-version");
    const API_VERSION: HeaderName = HeaderName::from_static("api-version");

    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static(DOCKER_API_VERSION));
    headers.insert(LIBPOD_API_VERSION, HeaderValue::from_static(LIBPOD_VERSION));
    headers.insert(header::SERVER, HeaderValue::from_static("Libpod/6.0.0 (linux)"));
    headers.insert(REFERENCE_ID, id);
}

/// Marks an answer that no handler made.
#[derive(Debug, Clone, Copy)]
struct RouterMade;

/// No pattern has matched. But Podman's pattern for removing one image matches everything below
/// the images, so there it can only be the method that was wrong.
async fn fallback(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with(IMAGES) {
        return method_not_allowed();
    }
    libpod::unserved::refusal(path).map_or_else(not_found, IntoResponse::into_response)
}

async fn refuse_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD { method_not_allowed() } else { next.run(request).await }
}

fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "Not Found\n")
}

fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    let headers = [(header::CONTENT_TYPE, TEXT), (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)];
    with_mark((status, headers, text).into_response())
}

fn redirect(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(to) => {
            let status = StatusCode::MOVED_PERMANENTLY;
            with_mark((status, [(header::LOCATION, to)], ()).into_response())
        }
        Err(_) => not_found(),
    }
}

fn with_mark(mut response: Response) -> Response {
    response.extensions_mut().insert(RouterMade);
    response
}
