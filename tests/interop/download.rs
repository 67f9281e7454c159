//! Images imported from a URL.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::load::assert_empty;
use crate::support::check::assert_sound;
use crate::support::http::PREFIX;
use crate::support::web::{Reply, Web};
use crate::support::{Layer, Response, Server, Store};

fn layer() -> Layer {
    Layer::files(&[("etc/file", b"content"), ("etc/other", &[7; 4000])])
}

fn import(server: &Server, url: &str, more: &str) -> Response {
    let url = url.replace(':', "%3A").replace('/', "%2F");
    server.client().import(&format!("?URL={url}{more}"), "the body does not count")
}

#[track_caller]
fn refused(server: &Server, store: &Store, url: &str, message: &str) {
    let answer = import(server, url, "").expect(500).json();
    assert_eq!(answer["message"], format!("unable to import tarball: {message}"), "{url}");
    assert_empty(store);
}

#[test]
fn what_a_url_leads_to_becomes_an_image() {
    let store = Store::new();
    let server = Server::start(&store);
    let tar = layer().tar;
    let other = Web::serve({
        let tar = tar.clone();
        move |_| Reply::ok(&tar)
    });
    let elsewhere = other.url("/moved?x=1");
    let web = Web::serve(move |asked| match &*asked.target {
        "/plain" => Reply::ok(&tar),
        "/chunked" => {
            let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in tar.chunks(1000) {
                write!(reply, "{:x}\r\n", piece.len()).unwrap();
                reply.extend([piece, b"\r\n"].concat());
            }
            reply.extend(b"0\r\n\r\n");
            Reply::raw(reply)
        }
        "/deep/relative" => Reply::to("../plain"),
        "/elsewhere" => Reply::to(&elsewhere),
        other => panic!("{other}"),
    });
    for (name, path) in [
        ("plain", "/plain"),
        ("chunked", "/chunked"),
        ("relative", "/deep/relative"),
        ("elsewhere", "/elsewhere"),
    ] {
        let answer = import(&server, &web.url(path), &format!("&reference={name}&message=got"));
        let id = answer.expect(200).json()["Id"].as_str().unwrap().replace("sha256:", "");
        assert_eq!(store.diff_ids(name), [layer().diff_id()], "{path}");
        assert_eq!(store.inspect(name)["Id"], id);
        assert_eq!(store.inspect(name)["Comment"], "got");
    }
    // Credentials in the URL are for its own host.
    let url = web.url("/elsewhere").replace("http://", "http://user:secret@");
    import(&server, &url, "").expect(200);
    let came =
        |web: &Web| web.seen().last().unwrap().header("authorization").map(ToOwned::to_owned);
    assert_eq!(came(&web).as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(came(&other), None);
    assert_eq!(other.seen().last().unwrap().target, "/moved?x=1");
    assert_sound(&store);
}

#[test]
fn what_cannot_be_downloaded_leaves_nothing() {
    let store = Store::new();
    let server = Server::start_with(&store, &["--download-limit=2k"]);
    let secure = Web::serve(|_| Reply::ok(""));
    let https = secure.url("/x").replace("http:", "https:");
    let to_https = https.clone();
    let web = Web::serve(move |asked| match &*asked.target {
        "/none" => Reply::new("404 Not Found", "", "<html>"),
        "/empty" => Reply::new("204 No Content", "", "").and_hold(),
        "/loop" => Reply::to("/loop"),
        "/https" => Reply::to(&to_https),
        "/file" => Reply::to("file:///etc/passwd"),
        "/lost" => Reply::new("301 Moved Permanently", "", ""),
        "/large" => Reply::ok(vec![0; 2049]),
        "/long" => {
            let mut reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            reply.resize(10_000, 0);
            Reply::raw(reply)
        }
        "/cut" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nxyz"),
        "/torn" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n"),
        "/silent" => Reply::raw(""),
        other => panic!("{other}"),
    });
    let place = |path: &str| format!("downloading {0}: Get \"{0}\"", web.url(path));
    let at = |path: &str| web.url(path);
    for (url, message) in [
        (at("/none"), format!("downloading {}: unexpected HTTP status 404 Not Found", at("/none"))),
        (at("/loop"), format!("{}: stopped after 10 redirects", place("/loop"))),
        (at("/https"), format!("{}: redirect to another scheme: {https:?}", place("/https"))),
        (
            at("/file"),
            format!("{}: redirect to another scheme: \"file:///etc/passwd\"", place("/file")),
        ),
        (at("/lost"), format!("{}: 301 response missing Location header", place("/lost"))),
        (at("/large"), format!("downloading {}: more than the limit of 2048 bytes", at("/large"))),
        (
            at("/long"),
            "writing blob: adding layer: reading layer: more than the limit of 2048 bytes"
                .to_owned(),
        ),
        (
            "http://127.0.0.1:1/x".to_owned(),
            "downloading http://127.0.0.1:1/x: Get \"http://127.0.0.1:1/x\": \
             dial tcp 127.0.0.1:1: connect: connection refused"
                .to_owned(),
        ),
        (
            https.clone(),
            format!(
                "downloading {https}: Get {https:?}: \
                 http: server gave HTTP response to HTTPS client"
            ),
        ),
        (
            "ftp://127.0.0.1/x".to_owned(),
            "downloading ftp://127.0.0.1/x: Get \"ftp://127.0.0.1/x\": \
             unsupported protocol scheme \"ftp\""
                .to_owned(),
        ),
    ] {
        refused(&server, &store, &url, &message);
    }
    // An answer that breaks off is not the end of the tar.
    for path in ["/cut", "/torn", "/silent"] {
        let answer = import(&server, &at(path), "").expect(500).json();
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(&format!("Get \"{}\": ", at(path))), "{message}");
        assert_empty(&store);
    }
    // Nobody is asked when the rest of the request is wrong.
    let before = web.seen().len();
    import(&server, &at("/large"), "&reference=UPPER").expect(500);
    assert_eq!(web.seen().len(), before);
    // Passwords appear nowhere.
    let url = at("/none").replace("http://", "http://user:secret@");
    let answer = import(&server, &url, "").expect(500);
    assert!(answer.text().contains("//user:xxxxx@127"), "{}", answer.text());
    assert!(!answer.text().contains("secret"));
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn a_caller_who_leaves_ends_the_download() {
    let store = Store::new();
    let server = Server::start(&store);
    let web = Web::serve(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx").and_hold()
    });
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let url = web.url("/slow");
    write!(stream, "POST {PREFIX}/images/import?url={url} HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    while web.seen().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    drop(stream);
    web.wait_until_left();
    assert_empty(&store);
    assert_eq!(server.stop().code(), Some(0));
}
