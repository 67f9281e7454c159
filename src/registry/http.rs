//! The HTTP client: time-outs, proxies, redirects, and words for what goes wrong.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, Response, Url};
use rustls::ClientConfig;

use super::error::{Error, ErrorKind, Result};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Redirects that are followed; as many as Go's client follows.
pub(super) const REDIRECTS: usize = 10;

/// A client for the host of `url`. Redirects are left to the caller. A server that owes an answer,
/// or the rest of it, may be silent for `silence`.
///
/// The proxies of the environment are used (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), except, as in
/// Go, for the machine itself.
pub(super) fn client(url: &Url, tls: ClientConfig, silence: Duration) -> Result<Client> {
    build(builder(url, tls).read_timeout(silence))
}

/// As [`client`], without a limit to how long a request takes: for bodies that are sent for minutes,
/// whose progress is for the caller to watch.
pub(super) fn unhurried_client(url: &Url, tls: ClientConfig) -> Result<Client> {
    build(builder(url, tls))
}

/// As [`unhurried_client`], without TLS, for the server behind the socket at `path`.
pub(super) fn socket_client(path: &str) -> Result<Client> {
    let host = Url::parse("http://localhost/").expect("is one");
    build(builder(&host, super::tls::none()?).unix_socket(path))
}

fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| Error::new(ErrorKind::Network, innermost(&error)))
}

fn builder(url: &Url, tls: ClientConfig) -> ClientBuilder {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("imaged/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT);
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// The whole body of `response`, at most `limit` bytes.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&url, &error))? {
        if body.len() + chunk.len() > limit {
            let text = format!("the answer has more than {limit} bytes");
            return Err(
                Error::new(ErrorKind::Answer, text).context(format!("Get {:?}", shown(&url)))
            );
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Where an answer sends the caller, if it does.
///
/// Never to another scheme: neither out of TLS, nor from what an administrator can look into to
/// what he cannot.
pub(super) fn redirect(response: &Response) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let from = response.url();
    let refused = |text: String| {
        let error = Error::new(ErrorKind::Answer, text);
        Err(error.context(format!("Get {:?}", shown(from))))
    };
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let Some(location) = location else {
        return refused(format!("{} response missing Location header", response.status().as_u16()));
    };
    match from.join(location) {
        Err(error) => refused(format!("failed to parse Location header {location:?}: {error}")),
        Ok(to) if to.scheme() != from.scheme() => {
            refused(format!("redirect to another scheme: {:?}", shown(&to)))
        }
        Ok(to) => Ok(Some(to)),
    }
}

/// A URL without a password, for messages.
pub(super) fn shown(url: &Url) -> String {
    if url.password().is_none() {
        return url.to_string();
    }
    let mut url = url.clone();
    // Cannot fail: there is a password, so there can be one.
    let _ = url.set_password(Some("xxxxx"));
    url.to_string()
}

/// Why there is no answer from `url`, in Go's words.
pub(super) fn failed(url: &Url, error: &reqwest::Error) -> Error {
    asking_failed(&Method::GET, url, error)
}

/// As [`failed`], when `method` was asked for.
pub(super) fn asking_failed(method: &Method, url: &Url, error: &reqwest::Error) -> Error {
    let error = match reason(url, error) {
        // Names and certificates are not better a moment later.
        (place, Some(reason)) if place == "dial tcp" => {
            Error::new(ErrorKind::Network, reason).context(place)
        }
        (reason, None) if reason.starts_with("tls: ") || reason.starts_with("http: ") => {
            Error::new(ErrorKind::Network, reason)
        }
        (place, Some(reason)) => {
            Error::new(ErrorKind::Network, reason).context(place).transient(None)
        }
        (reason, None) => Error::new(ErrorKind::Network, reason).transient(None),
    };
    error.context(format!("{} {:?}", operation(method), shown(url)))
}

/// A method as Go writes it: `Get`.
pub(super) fn operation(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    first.to_owned() + &rest.to_ascii_lowercase()
}

/// What happened, and apart from it the innermost reason, where Go has one.
fn reason(url: &Url, error: &reqwest::Error) -> (String, Option<String>) {
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        next = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // The source of such an error is that of the error inside.
            let inner = error.get_ref().map(|inner| inner as &(dyn StdError + 'static));
            next = inner.or(next);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return (tls_reason(host, error), None);
        }
    }
    let innermost = innermost(error);
    if let Some(words) = innermost.strip_prefix("failed to lookup address information: ") {
        let known = words == "Name or service not known";
        let words = if known { "no such host" } else { words };
        return ("dial tcp".to_owned(), Some(format!("lookup {host}: {}", go_words(words))));
    }
    if error.is_timeout() {
        return (
            if error.is_connect() { format!("dial tcp {address}") } else { "read".to_owned() },
            Some("i/o timeout".to_owned()),
        );
    }
    match &*innermost {
        "tls handshake eof" => return ("EOF".to_owned(), None),
        "end of file before message length reached"
        | "connection closed before message completed" => {
            return ("unexpected EOF".to_owned(), None);
        }
        _ => {}
    }
    if error.is_connect() {
        return (format!("dial tcp {address}: connect"), Some(go_words(&innermost)));
    }
    (go_words(&innermost), None)
}

fn tls_reason(host: &str, error: &rustls::Error) -> String {
    use rustls::CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    let certificate = match error {
        InvalidMessage(_) => return "http: server gave HTTP response to HTTPS client".to_owned(),
        // The signature is not by the authority of that name which is known here.
        InvalidCertificate(UnknownIssuer | BadSignature) => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => "x509: certificate has expired or is not yet valid".to_owned(),
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            format!("x509: certificate is not valid for {host}")
        }
        other => return format!("tls: {other}"),
    };
    format!("tls: failed to verify certificate: {certificate}")
}

/// The text of the innermost error.
fn innermost(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// Words of the system in Go's form: without the number, the first letter small.
fn go_words(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_needs_no_proxy() {
        for (url, loopback) in [
            ("http://localhost:5000/", true),
            ("https://LOCALHOST", true),
            ("http://127.1.2.3/", true),
            ("http://[::1]:80/", true),
            ("http://example.com/", false),
            ("http://[2001:db8::1]/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = |url| shown(&Url::parse(url).unwrap());
        assert_eq!(shown("http://u:secret@h/p?q"), "http://u:xxxxx@h/p?q");
        assert_eq!(shown("http://u@h/"), "http://u@h/");
    }
}
