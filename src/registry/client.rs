//! A client of one registry: how it is reached, as whom, and what it answers.

use reqwest::header::AUTHORIZATION;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::{Challenge, challenges};
use super::error::{Error, ErrorKind, Result};
use super::refusal::refusal;
use super::{Settings, auth, http, tls};
use crate::image::{Login, Logins};

/// Longest answer of a token service, bytes.
const TOKEN: usize = 1 << 20;

/// How registries are to be asked.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// As whom.
    pub logins: Logins,
    /// Whether certificates are checked; `None`: as `registries.conf` says. If not, and there is
    /// no TLS, plain HTTP will do.
    pub tls_verify: Option<bool>,
}

/// A registry that is about to be asked.
pub(super) struct RegistryClient {
    http: Client,
    /// Scheme and host.
    base: Url,
    /// The registry as messages name it.
    name: String,
    login: Login,
    /// Whether certificates count for nothing.
    trusting: bool,
    /// What tokens are asked for.
    scope: Option<String>,
    challenges: Vec<Challenge>,
    bearer: Option<String>,
}

impl RegistryClient {
    /// Prepares to ask `registry` about `repository`, or about itself. Nothing is sent yet.
    pub(super) async fn new(
        settings: &Settings,
        registry: &str,
        repository: Option<&str>,
        access: &Access,
    ) -> Result<Self> {
        let key = match repository {
            Some(repository) => format!("{registry}/{repository}"),
            None => registry.to_owned(),
        };
        let login = match access.logins.find(&key) {
            Some(login) => login,
            None => auth::of_host(settings, &key).await?,
        };
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let name = host.to_owned();
        let mut client =
            Self::with_login(settings, &key, registry, host, access.tls_verify, login).await?;
        client.name = name;
        client.scope = repository.map(|repository| format!("repository:{repository}:pull"));
        Ok(client)
    }

    /// As [`new`](Self::new), for `host` that serves `registry`, known as `key` to the files of the
    /// host, with this login.
    pub(super) async fn with_login(
        settings: &Settings,
        key: &str,
        registry: &str,
        host: &str,
        tls_verify: Option<bool>,
        login: Login,
    ) -> Result<Self> {
        let entry = settings.registries.find(key);
        if let Some(entry) = entry.filter(|entry| entry.blocked) {
            let [file, directory] = &settings.registries.origin;
            let text = format!("registry {} is blocked in {file} or {directory}", entry.prefix);
            return Err(Error::new(ErrorKind::BadRequest, text));
        }
        let verify = tls_verify.unwrap_or(!entry.is_some_and(|entry| entry.insecure));
        let base = Url::parse(&format!("https://{host}/"))
            .ok()
            .filter(|url| url.has_host() && url.path() == "/" && url.username().is_empty())
            .ok_or_else(|| {
                Error::new(ErrorKind::BadRequest, format!("invalid registry {host:?}"))
            })?;
        let (directories, name) = (settings.certs_directories.clone(), registry.to_owned());
        let tls =
            tokio::task::spawn_blocking(move || tls::for_registry(&directories, &name, verify));
        let tls =
            tls.await.map_err(|error| Error::new(ErrorKind::Network, error.to_string()))??;
        Ok(Self {
            http: http::client(&base, tls)?,
            base,
            name: host.to_owned(),
            login,
            trusting: !verify,
            scope: None,
            challenges: Vec::new(),
            bearer: None,
        })
    }

    /// Finds out whether there is a registry, whether it uses TLS and what it wants to know.
    pub(super) async fn ping(&mut self) -> Result<()> {
        let place = format!("pinging container registry {}", self.name);
        let mut pinged = self.ping_once().await;
        if pinged.is_err() && self.trusting {
            // There is a host, so the scheme can be set.
            let _ = self.base.set_scheme("http");
            pinged = self.ping_once().await;
        }
        pinged.map_err(|error| error.context(place))
    }

    async fn ping_once(&mut self) -> Result<()> {
        let response = self.send(self.url("/v2/")?, false).await?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::UNAUTHORIZED) {
            return Err(refusal(response).await);
        }
        self.challenges = challenges(response.headers());
        Ok(())
    }

    /// Whether the login is good for this registry. Needs a [`ping`](Self::ping).
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Unauthorized`] if it is not.
    pub(super) async fn check_login(&mut self) -> Result<()> {
        let response = self.get("/v2/").await?;
        if response.status() == StatusCode::OK { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Asks for a path with its query, as whom the registry wanted to know. Needs a
    /// [`ping`](Self::ping). Whatever the status.
    pub(super) async fn get(&mut self, target: &str) -> Result<Response> {
        self.authorize().await?;
        self.send(self.url(target)?, true).await
    }

    /// As [`get`](Self::get), as nobody.
    pub(super) async fn get_as_nobody(&self, target: &str) -> Result<Response> {
        self.send(self.url(target)?, false).await
    }

    fn url(&self, target: &str) -> Result<Url> {
        let url = self.base.join(target).ok();
        // A target may not lead to another host, as `//host` would.
        url.filter(|url| same_origin(url, &self.base)).ok_or_else(|| {
            Error::new(ErrorKind::Answer, format!("invalid path {target:?} on {}", self.name))
        })
    }

    /// Sends a request and follows where the answer leads. Only the registry itself is told who
    /// asks.
    async fn send(&self, mut url: Url, authorized: bool) -> Result<Response> {
        for _ in 0..=http::REDIRECTS {
            let mut request = self.http.get(url.clone());
            if authorized && same_origin(&url, &self.base) {
                request = self.prove(request);
            }
            let response = request.send().await.map_err(|error| http::failed(&url, &error))?;
            match http::redirect(&response)? {
                Some(to) => url = to,
                None => return Ok(response),
            }
        }
        let text = format!("stopped after {} redirects", http::REDIRECTS);
        Err(Error::new(ErrorKind::Answer, text).context(format!("Get {:?}", http::shown(&url))))
    }

    fn prove(&self, request: RequestBuilder) -> RequestBuilder {
        if let Some(token) = &self.bearer {
            return request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        // With several challenges the first that is understood counts.
        match self.understood().map(|challenge| &*challenge.scheme) {
            // Also as nobody, as the tools do.
            Some("basic") => request.basic_auth(&self.login.username, Some(&self.login.password)),
            _ => request,
        }
    }

    fn understood(&self) -> Option<&Challenge> {
        self.challenges.iter().find(|it| matches!(&*it.scheme, "basic" | "bearer"))
    }

    /// Gets a token, if the registry wants one and there is none yet.
    async fn authorize(&mut self) -> Result<()> {
        let Some(challenge) = self.understood() else { return Ok(()) };
        if challenge.scheme == "bearer" && self.bearer.is_none() {
            self.bearer = Some(self.token(challenge).await?);
        }
        Ok(())
    }

    async fn token(&self, challenge: &Challenge) -> Result<String> {
        let failed =
            |text: String| Error::new(ErrorKind::Answer, text).context("requesting bearer token");
        let realm = challenge.parameter("realm").unwrap_or_default();
        let url = Url::parse(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(mut url) = url else {
            return Err(failed(format!("invalid realm {realm:?} in bearer challenge")));
        };
        let login = &self.login;
        if url.scheme() == "http" && !self.trusting && !login.is_empty() {
            return Err(failed(format!("credentials are not sent to {realm:?} without TLS")));
        }
        let service = challenge.parameter("service").unwrap_or_default();
        let mut fields = Vec::new();
        let mut field = |name, value: &str| {
            if !value.is_empty() {
                fields.push((name, value.to_owned()));
            }
        };
        field("service", service);
        field("scope", self.scope.as_deref().unwrap_or_default());
        let request = if login.identity_token.is_empty() {
            field("account", &login.username);
            url.query_pairs_mut().extend_pairs(&fields);
            let request = self.http.get(url.clone());
            if login.username.is_empty() || login.password.is_empty() {
                request
            } else {
                request.basic_auth(&login.username, Some(&login.password))
            }
        } else {
            field("grant_type", "refresh_token");
            field("refresh_token", &login.identity_token);
            field("client_id", "containers/image");
            // The encoding of forms and of queries is one.
            let mut form = Url::parse("http://form/").map_err(|error| failed(error.to_string()))?;
            form.query_pairs_mut().extend_pairs(&fields);
            self.http
                .post(url.clone())
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned())
        };
        let response = request.send().await.map_err(|error| http::failed(&url, &error))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await.context("requesting bearer token"));
        }
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let token: Token = serde_json::from_slice(&http::body(response, TOKEN).await?)
            .map_err(|_| failed("the answer is not a token".to_owned()))?;
        Ok(if token.token.is_empty() { token.access_token } else { token.token })
    }
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether `login` is good for the registry at `address`, a host or a URL.
///
/// # Errors
/// Of kind [`ErrorKind::Unauthorized`] if it is not.
pub async fn check_login(settings: &Settings, address: &str, login: Login) -> Result<()> {
    let local = ["localhost:", "https://localhost:", "https://localhost/"];
    let verify = !local.iter().any(|local| address.starts_with(local));
    let bare = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let registry = bare.unwrap_or(address).split('/').next().unwrap_or_default();
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let place = || format!("authenticating creds for {registry:?}");
    let mut client =
        RegistryClient::with_login(settings, registry, registry, host, Some(verify), login)
            .await
            .map_err(|error| error.context("creating new docker client").context(place()))?;
    client.ping().await.map_err(|error| error.context(place()))?;
    client.check_login().await.map_err(|error| error.context(place()))
}
