//! The registries that tests use are what the tests take them for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::support::archive::sha256;
use crate::support::faulty::Door;
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::tokens::REFRESH_TOKEN;
use crate::support::tool::{run, run_failing};
use crate::support::{Fault, Faulty, Layer, OciArchive};

/// Status line, headers and body of a request on a connection of its own.
fn ask(host: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let (first, more) = request.split_once('\n').unwrap_or((request, ""));
    let more = more.replace('\n', "\r\n");
    write!(stream, "{first} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n").unwrap();
    let length = more.rsplit_once("ontent-Length: ").map_or(0, |(_, n)| n.trim().parse().unwrap());
    stream.write_all(&vec![b'x'; length]).unwrap();
    read(&mut stream)
}

/// Until an answer of the length it says is there, or the connection ends.
fn read(stream: &mut TcpStream) -> (String, String) {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("ontent-Length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if length.is_some_and(|length: usize| body.len() >= length) {
                return (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => answer.extend(&buffer[..count]),
            _ => {
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
                return (head.to_owned(), body.to_owned());
            }
        }
    }
}

fn skopeo(arguments: &[&str]) -> Command {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(arguments);
    command
}

#[test]
fn tokens_let_everybody_pull_and_somebody_push() {
    let registry = Registry::start(Setup { tokens: true, deletes: true, ..Setup::default() });
    registry.push(&["app:1", "private/app:1"]);
    let host = registry.host();
    let (public, private) =
        (format!("docker://{host}/app:1"), format!("docker://{host}/private/app:1"));
    let creds = format!("{USER}:{PASSWORD}");
    run(&mut skopeo(&["inspect", "--tls-verify=false", &public]));
    let text = run_failing(&mut skopeo(&["inspect", "--tls-verify=false", &private]));
    assert!(text.contains("denied"), "{text}");
    run(&mut skopeo(&["inspect", "--tls-verify=false", "--creds", &creds, &private]));
    let wrong = format!("{USER}:wrong");
    let text =
        run_failing(&mut skopeo(&["inspect", "--tls-verify=false", "--creds", &wrong, &private]));
    assert!(text.contains("incorrect username or password"), "{text}");

    // An identity token is as good as the password.
    let auth = registry.path("auth.json");
    let entry = format!(
        r#"{{"auths":{{"{host}":{{"auth":"PHRva2VuPjo=","identitytoken":"{REFRESH_TOKEN}"}}}}}}"#
    );
    std::fs::write(&auth, entry).unwrap();
    let auth = format!("--authfile={}", auth.display());
    run(&mut skopeo(&["inspect", "--tls-verify=false", &auth, &private]));
    let posted = registry.tokens().seen().iter().filter(|asked| asked.method == "POST").count();
    assert!(posted > 0);

    // A token that is over does not open the door.
    registry.tokens().expire_next(usize::MAX);
    run_failing(&mut skopeo(&["inspect", "--tls-verify=false", &public]));
    registry.tokens().expire_next(0);
    run(&mut skopeo(&["delete", "--tls-verify=false", "--creds", &creds, &public]));
    run_failing(&mut skopeo(&["inspect", "--tls-verify=false", &public]));
}

#[test]
fn the_faulty_registry_is_one_unless_told_otherwise() {
    for door in [Door::Open, Door::Password, Door::Token] {
        let faulty = Faulty::behind(door);
        let layers = [Layer::random(1, "a", 3, 100_000), Layer::files(&[("b", b"b")])];
        let image = OciArchive::new("image:1", &layers);
        let digest = faulty.put("app", "1", &image);
        let dir = tempfile::tempdir().unwrap();
        let host = faulty.host();
        let copy = |from: &str, to: &str| {
            let creds = format!("{USER}:{PASSWORD}");
            let creds = [format!("--src-creds={creds}"), format!("--dest-creds={creds}")];
            run(&mut skopeo(&[
                "copy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                &creds[0],
                &creds[1],
                from,
                to,
            ]));
        };
        let local = format!("dir:{}", dir.path().display());
        let other = Faulty::behind(door);
        let to = other.host();
        copy(&format!("docker://{host}/app:1"), &local);
        copy(&local, &format!("docker://{to}/copy:2"));
        copy(&format!("docker://{to}/copy:2"), &format!("docker://{to}/other/copy:3"));
        for (repository, tag) in [("copy", "2"), ("other/copy", "3")] {
            let manifest = other.manifest(repository, tag).unwrap();
            assert_eq!(sha256(&manifest), digest, "{door:?}");
        }
        let blob = image.layer_blob(0);
        let size = other.blob("copy", &format!("sha256:{blob}")).unwrap().len() as u64;
        assert_eq!(faulty.sent(&format!("/app/blobs/sha256:{blob}")), size);
        let written = other.asked("PATCH", "/v2/copy/");
        assert!(written.iter().any(|seen| seen.received == size), "{written:#?}");
        let written = other.asked("PATCH", "/v2/other/copy/");
        assert_eq!(written.len(), 1, "the config; layers are mounted: {written:#?}");
        let closed = ask(&host, "GET /v2/").0.starts_with("HTTP/1.1 401");
        assert_eq!(closed, door != Door::Open);
    }
}

#[test]
fn faults_happen_as_often_as_told() {
    let faulty = Faulty::start();
    let content = b"0123456789";
    let digest = faulty.put_blob("app", content);
    let target = format!("GET /v2/app/blobs/{digest}");
    let host = faulty.host();
    let blob = |more: &str| {
        let (head, body) = ask(&host, &format!("{target}{more}"));
        (head.get(9..12).unwrap_or_default().to_owned(), body, head)
    };
    let expect = |more: &str, status: &str, body: &str| {
        let (found, text, head) = blob(more);
        assert_eq!((&*found, &*text), (status, body), "{head}");
        head
    };
    let range = "\nRange: bytes=4-\n";
    expect("", "200", "0123456789");
    let head = expect(range, "206", "456789");
    assert!(head.contains("Content-Range: bytes 4-9/10"), "{head}");
    expect(
        "\nRange: bytes=10-\n",
        "416",
        r#"{"errors":[{"code":"RANGE_INVALID","message":"range_invalid"}]}"#,
    );

    faulty.fail_after(1, "GET", &digest, 2, Fault::Cut(3));
    expect("", "200", "0123456789");
    assert!(expect("", "200", "012").contains("Content-Length: 10"));
    expect(range, "206", "456");
    expect("", "200", "0123456789");
    for (fault, more, status, body, part) in [
        (Fault::Reset, "", "", "", ""),
        (
            Fault::Status(429, "Retry-After: 1\r\n".to_owned()),
            "",
            "429",
            r#"{"errors":[{"code":"UNKNOWN","message":"on purpose"}]}"#,
            "Retry-After: 1",
        ),
        (Fault::WholeBody, range, "200", "0123456789", ""),
        (Fault::OtherRange, range, "206", "3456789", "bytes 3-9/10"),
        (Fault::Longer(5), "", "200", "0123456789", "Content-Length: 15"),
        (Fault::Flip, "", "200", "0123446789", "Content-Length: 10"),
        (Fault::Body(b"other".to_vec()), "", "200", "other", ""),
        (Fault::Padded(3), "", "200", "   0123456789", ""),
        (
            Fault::Header("Docker-Content-Digest", "lie".to_owned()),
            "",
            "200",
            "0123456789",
            "Digest: lie",
        ),
        (
            Fault::Redirect("http://127.0.0.1:1".to_owned()),
            "",
            "307",
            "",
            "Location: http://127.0.0.1:1/v2/app/",
        ),
    ] {
        faulty.fail("GET", &digest, 1, fault.clone());
        let head = expect(more, status, body);
        assert!(head.contains(part), "{fault:?}: {head}");
        expect("", "200", "0123456789");
    }

    faulty.forget();
    faulty.fail("GET", &digest, 2, Fault::Hold(2));
    std::thread::scope(|scope| {
        let held = [scope.spawn(|| blob("")), scope.spawn(|| blob(""))];
        faulty.wait_until_held(2);
        assert_eq!(faulty.sent(&digest), 4);
        faulty.release();
        for held in held {
            assert_eq!(held.join().unwrap().1, "0123456789");
        }
    });
    faulty.fail("GET", &digest, usize::MAX, Fault::Reset);
    expect("", "", "");
    faulty.behave();
    expect("\nAuthorization: Basic eDp5\n", "200", "0123456789");
    let last = faulty.seen().pop().unwrap();
    assert_eq!((last.status, last.sent, last.range), (200, 10, None));
    assert_eq!(last.authorization.unwrap(), "Basic eDp5");
}

#[test]
fn uploads_go_wrong_and_on() {
    let faulty = Faulty::start();
    let host = faulty.host();
    let (head, _) = ask(&host, "POST /v2/app/blobs/uploads/");
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    let target = head.split("Location: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    faulty.fail("PATCH", "/app/blobs/uploads/", 1, Fault::CutUpload(3));
    faulty.fail("PATCH", "/app/blobs/uploads/", 1, Fault::Status(500, String::new()));
    let patch = |range: &str, length: usize| {
        ask(&host, &format!("PATCH {target}\nContent-Range: {range}\nContent-Length: {length}\n")).0
    };
    assert_eq!(patch("0-9", 10), "");
    assert!(patch("0-9", 10).starts_with("HTTP/1.1 500"));
    let (head, _) = ask(&host, &format!("GET {target}"));
    assert!(head.starts_with("HTTP/1.1 204") && head.contains("Range: 0-2\r\n"), "{head}");
    assert!(patch("0-9", 10).starts_with("HTTP/1.1 416"));
    assert!(patch("3-9", 7).contains("Range: 0-9\r\n"));
    let digest = sha256(b"xxxxxxxxxx");
    let put =
        |digest: &str| ask(&host, &format!("PUT {target}&digest={digest}\nContent-Length: 0\n")).0;
    assert!(put(&digest).starts_with("HTTP/1.1 201"));
    assert_eq!(faulty.blob("app", &digest).unwrap(), b"xxxxxxxxxx");
    assert!(put(&digest).starts_with("HTTP/1.1 404"));
    let mount =
        format!("POST /v2/copy/blobs/uploads/?mount={digest}&from=app\nContent-Length: 0\n");
    assert!(ask(&host, &mount).0.starts_with("HTTP/1.1 201"));
    assert_eq!(faulty.blob("copy", &digest).unwrap(), b"xxxxxxxxxx");
    let manifest = "PUT /v2/copy/manifests/1\nContent-Length: 1\n";
    assert!(ask(&host, manifest).0.starts_with("HTTP/1.1 400"));
}
