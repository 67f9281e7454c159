//! A client of one registry: how it is reached, as whom, and what it answers.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::challenge::{Challenge, challenges};
use super::error::{Error, ErrorKind, Result};
use super::reached::{Key, Line, Reached};
use super::refusal::refusal;
use super::tls::{self, Certificates};
use super::token::{Token, TokenRequest};
use super::{Settings, auth, http};
use crate::image::{Login, Logins};

/// How registries are to be asked.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// As whom.
    pub logins: Logins,
    /// Whether certificates are checked; `None`: as `registries.conf` says. If not, and there is
    /// no TLS, plain HTTP will do.
    pub tls_verify: Option<bool>,
}

/// What is to be asked of a registry.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    /// What else, beside the client's own scope, the answer needs the right to.
    pub(super) scope: Option<&'a str>,
}

/// The body of a request.
#[derive(Debug, Default)]
pub(super) enum Content {
    #[default]
    None,
    /// Can be sent again.
    Bytes(bytes::Bytes),
    /// Can be sent once: a refusal ends it.
    Stream(Body),
}

/// A registry that is about to be asked. Requests may run at the same time.
#[derive(Debug)]
pub(super) struct RegistryClient {
    line: Line,
    /// Where the line is kept for the next operation, and as what.
    reached: (Reached, Key),
    /// Scheme and host.
    base: Url,
    /// The registry as messages name it.
    name: String,
    login: Login,
    /// Whether certificates count for nothing.
    trusting: bool,
    /// What tokens are asked for.
    scope: Option<String>,
    /// The registry has answered a moment ago, to this operation or one before.
    is_reached: bool,
    challenges: RwLock<Vec<Challenge>>,
    /// By what they were asked for. Locked while a token is asked for, so that one request does.
    tokens: Mutex<BTreeMap<String, Token>>,
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
        let mut client =
            Self::with_login(settings, &key, registry, host, access.tls_verify, login).await?;
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
            return Err(Error::new(ErrorKind::BadRequest, settings.registries.blocked(entry)));
        }
        let verify = tls_verify.unwrap_or(!entry.is_some_and(|entry| entry.insecure));
        let how = Connection { registry, host, verify };
        Self::connect(settings, how, login).await
    }

    /// A client that is told everything.
    pub(super) async fn connect(
        settings: &Settings,
        how: Connection<'_>,
        login: Login,
    ) -> Result<Self> {
        let Connection { registry, host, verify } = how;
        let base = Url::parse(&format!("https://{host}/"))
            .ok()
            .filter(|url| url.has_host() && url.path() == "/" && url.username().is_empty())
            .ok_or_else(|| {
                Error::new(ErrorKind::BadRequest, format!("invalid registry {host:?}"))
            })?;
        let reached = settings.reached.clone();
        let directories = settings.certs_directories.clone();
        let (registry, silence) = (registry.to_owned(), settings.silence);
        let (name, url) = (host.to_owned(), base.clone());
        let line = tokio::task::spawn_blocking(move || {
            let certificates = Certificates::find(&directories, &registry)?;
            let key = Key { host: name, verify, certificates: certificates.stamp() };
            if let Some(line) = reached.find(&key) {
                return Ok((line, (reached, key), true));
            }
            let made = Instant::now();
            let tls = tls::for_registry(&certificates, verify)?;
            let unhurried = http::unhurried_client(&url, tls.clone())?;
            let http = http::client(&url, tls, silence)?;
            let line = Line { http, unhurried, plain: false, challenges: Vec::new(), made };
            Ok((line, (reached, key), false))
        });
        let (line, reached, is_reached) =
            line.await.map_err(|error| Error::new(ErrorKind::Network, error.to_string()))??;
        Ok(Self {
            line,
            reached,
            base,
            name: host.to_owned(),
            login,
            trusting: !verify,
            scope: None,
            is_reached,
            challenges: RwLock::default(),
            tokens: Mutex::default(),
        })
    }

    /// The same client, which asks for the right to `scope`.
    pub(super) fn with_scope(self, scope: String) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The registry as messages name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Finds out whether there is a registry, whether it uses TLS and what it wants to know. Where all
    /// of that was found out a moment ago, nothing is asked: [`ask`](Self::ask) notices what has changed
    /// since.
    pub(super) async fn ping(&mut self) -> Result<()> {
        if self.is_reached {
            let _ = self.base.set_scheme(if self.line.plain { "http" } else { "https" });
            self.learn(self.line.challenges.clone());
            let (reached, key) = &self.reached;
            reached.keep(key, &self.line);
            return Ok(());
        }
        // Where there is no TLS, that is still so most likely.
        let schemes: &[&str] = match (self.trusting, self.line.plain) {
            (false, _) => &["https"],
            (true, false) => &["https", "http"],
            (true, true) => &["http", "https", "http"],
        };
        let mut pinged = Ok(());
        for scheme in schemes {
            // There is a host, so the scheme can be set.
            let _ = self.base.set_scheme(scheme);
            pinged = self.ping_once().await;
            match &pinged {
                Ok(()) => {
                    self.line.plain = *scheme == "http";
                    self.line.challenges = self.known_challenges();
                    self.is_reached = true;
                    let (reached, key) = &self.reached;
                    reached.keep(key, &self.line);
                    break;
                }
                // It is there, and busy.
                Err(error)
                    if self.line.plain
                        && error.is_transient()
                        && error.kind() != ErrorKind::Network =>
                {
                    break;
                }
                Err(_) => {}
            }
        }
        pinged.map_err(|error| error.context(format!("pinging container registry {}", self.name)))
    }

    async fn ping_once(&self) -> Result<()> {
        let response = self.follow(self.url("/v2/")?, &Ask::default(), None).await?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::UNAUTHORIZED) {
            return Err(refusal(response).await);
        }
        self.learn(challenges(response.headers()));
        Ok(())
    }

    /// Whether the login is good for this registry. Needs a [`ping`](Self::ping).
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Unauthorized`] if it is not.
    pub(super) async fn check_login(&self) -> Result<()> {
        let response = self.get("/v2/").await?;
        if response.status() == StatusCode::OK { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Asks for a path with its query, as whom the registry wanted to know. Needs a
    /// [`ping`](Self::ping). Whatever the status.
    pub(super) async fn get(&self, target: &str) -> Result<Response> {
        self.ask(self.url(target)?, Ask::default()).await
    }

    /// As [`get`](Self::get), as nobody.
    pub(super) async fn get_as_nobody(&self, target: &str) -> Result<Response> {
        self.follow(self.url(target)?, &Ask::default(), None).await
    }

    /// The address of a path, with its query, on the registry.
    ///
    /// # Errors
    /// A target may not lead to another host, as `//host` would.
    pub(super) fn url(&self, target: &str) -> Result<Url> {
        let url = self.base.join(target).ok();
        url.filter(|url| same_origin(url, &self.base)).ok_or_else(|| {
            Error::new(ErrorKind::Answer, format!("invalid path {target:?} on {}", self.name))
        })
    }

    /// Asks as whom the registry wants to know, and once more if it wants another token. Redirects
    /// of what only reads are followed. Whatever the status.
    ///
    /// A body that is a stream may be sent for as long as it takes; the caller watches whether it
    /// gets on. `url` is the registry's, or one that it gave for an upload; only the registry itself
    /// is told who asks. Needs a [`ping`](Self::ping).
    pub(super) async fn ask(&self, url: Url, mut ask: Ask<'_>) -> Result<Response> {
        if let Content::Stream(_) = ask.body {
            let proof = self.proof(ask.scope, None).await?;
            let Content::Stream(body) = std::mem::take(&mut ask.body) else {
                return Err(Error::new(ErrorKind::BadRequest, "there is no body"));
            };
            let request = self.request(&self.line.unhurried, &url, &ask, proof.as_ref()).body(body);
            let failed = |error| http::asking_failed(&ask.method, &url, &error);
            return request.send().await.map_err(failed);
        }
        let proof = self.proof(ask.scope, None).await?;
        let response = self.follow(url.clone(), &ask, proof.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !same_origin(&url, &self.base) {
            return Ok(response);
        }
        // A token may be too old by now, or not be good for this; a registry may want to know who
        // asks only now.
        let found = challenges(response.headers());
        let wanted = found.iter().find(|it| it.scheme == "bearer");
        let denied = wanted.and_then(|it| it.parameter("error")) == Some("insufficient_scope");
        let renewable = wanted.is_some() && matches!(proof, Some(Proof::Bearer(_)));
        let new = self.understood().is_none() && !found.is_empty();
        if denied || !(new || renewable) {
            return Ok(response);
        }
        if new {
            self.learn(found);
        }
        let again = self.proof(ask.scope, proof.as_ref()).await?;
        if again.is_none() || again == proof {
            return Ok(response);
        }
        drop(response);
        self.follow(url, &ask, again.as_ref()).await
    }

    /// Sends a request and follows where the answer leads.
    async fn follow(&self, mut url: Url, ask: &Ask<'_>, proof: Option<&Proof>) -> Result<Response> {
        let reads = matches!(ask.method, Method::GET | Method::HEAD);
        for _ in 0..=http::REDIRECTS {
            let request = self.request(&self.line.http, &url, ask, proof);
            let failed = |error| {
                // Whoever comes next finds out anew how it is reached.
                let (reached, key) = &self.reached;
                reached.forget(key);
                http::asking_failed(&ask.method, &url, &error)
            };
            let response = request.send().await.map_err(failed)?;
            match http::redirect(&response).map(|to| to.filter(|_| reads))? {
                Some(to) => url = to,
                None => return Ok(response),
            }
        }
        let text = format!("stopped after {} redirects", http::REDIRECTS);
        Err(Error::new(ErrorKind::Answer, text).context(format!("Get {:?}", http::shown(&url))))
    }

    /// A request without its body, if that is a stream.
    fn request(
        &self,
        http: &Client,
        url: &Url,
        ask: &Ask<'_>,
        proof: Option<&Proof>,
    ) -> RequestBuilder {
        let request = http.request(ask.method.clone(), url.clone()).headers(ask.headers.clone());
        let request = match &ask.body {
            Content::Bytes(bytes) => request.body(bytes.clone()),
            Content::None | Content::Stream(_) => request,
        };
        match proof.filter(|_| same_origin(url, &self.base)) {
            Some(Proof::Bearer(token)) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            // Also as nobody, as the tools do.
            Some(Proof::Basic) => {
                request.basic_auth(&self.login.username, Some(&self.login.password))
            }
            None => request,
        }
    }

    /// What proves who asks, as far as the registry wants to know. A token like that of `refused`
    /// is not used again.
    async fn proof(&self, extra: Option<&str>, refused: Option<&Proof>) -> Result<Option<Proof>> {
        let Some(challenge) = self.understood() else { return Ok(None) };
        if challenge.scheme == "basic" {
            return Ok(Some(Proof::Basic));
        }
        let mut scopes: Vec<&str> = self.scope.as_deref().into_iter().chain(extra).collect();
        if refused.is_some()
            && let Some(wanted) = challenge.parameter("scope")
            && scopes.is_empty()
        {
            scopes.push(wanted);
        }
        let key = scopes.join(" ");
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(&key).and_then(Token::current)
            && refused != Some(&Proof::Bearer(token.to_owned()))
        {
            return Ok(Some(Proof::Bearer(token.to_owned())));
        }
        let request = TokenRequest {
            http: &self.line.http,
            login: &self.login,
            trusting: self.trusting,
            challenge: &challenge,
            scopes: &scopes,
        };
        let token = request.send().await?;
        let proof = Proof::Bearer(token.text.clone());
        tokens.insert(key, token);
        Ok(Some(proof))
    }

    fn known_challenges(&self) -> Vec<Challenge> {
        self.challenges.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first challenge that is understood.
    fn understood(&self) -> Option<Challenge> {
        let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
        challenges.iter().find(|it| matches!(&*it.scheme, "basic" | "bearer")).cloned()
    }

    fn learn(&self, challenges: Vec<Challenge>) {
        *self.challenges.write().unwrap_or_else(PoisonError::into_inner) = challenges;
    }
}

/// Which host is asked, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection<'a> {
    /// The registry as the files of the host know it.
    pub(super) registry: &'a str,
    /// The host that serves it, with a port if need be.
    pub(super) host: &'a str,
    /// Whether certificates are checked. If not, plain HTTP will do where there is no TLS.
    pub(super) verify: bool,
}

/// What is sent to prove who asks.
#[derive(Clone, PartialEq, Eq)]
enum Proof {
    /// The client's login.
    Basic,
    Bearer(String),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Basic) { "Basic" } else { "Bearer" })
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
