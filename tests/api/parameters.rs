//! What the engine is asked, for which parameters.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use futures_util::stream;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fake::Fake;
use crate::{call, call_as_own_user, request};

async fn asked(method: &str, target: &str) -> Vec<String> {
    let engine = Arc::new(Fake::answering(Value::Null));
    let answer = call(engine.clone(), request(method, target)).await;
    assert!(answer.status < 300, "{target}: {}", answer.text());
    engine.calls()
}

fn encoded(json: &Value) -> String {
    json.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn changes_options() {
    for (path, call) in [
        ("images/a%2Fb/changes", "changes a/b None Any"),
        ("containers/a%2Fb/changes?difftype=all", "changes a/b None Any"),
        ("containers/a/changes?parent=&diffType=container", "changes a None Container"),
        ("images/a/changes?parent=x/y:1&diffType=image", "changes a Some(\"x/y:1\") Image"),
    ] {
        let engine = Arc::new(Fake::default());
        let answer = crate::call(engine.clone(), request("GET", &format!("/v5.0.0/libpod/{path}")));
        assert_eq!(answer.await.text(), "null\n");
        assert_eq!(engine.calls(), [call]);
    }
}

#[tokio::test]
async fn prune_options() {
    for (query, all, filters) in [
        ("", false, 0),
        ("?all=1&external=true&buildcache=true", true, 0),
        ("?filters=%7B%22all%22%3A%5B%22true%22%5D%7D", true, 1),
        ("?all=true&filters=%7B%22all%22%3A%5B%22false%22%5D%7D", false, 1),
        (
            "?filters=%7B%22dangling%22%3A%5B%22false%22%5D,%22label%22%3A%5B%22a%22,%22b%22%5D%7D",
            false,
            1,
        ),
    ] {
        let engine = Arc::new(Fake::default());
        let target = format!("/v5.0.0/libpod/images/prune{query}");
        assert_eq!(call(engine.clone(), request("POST", &target)).await.text(), "[]\n");
        let [asked] = &engine.calls()[..] else { panic!("{query}") };
        assert!(asked.contains(&format!("all: {all}")), "{asked}");
        let external = query.contains("external");
        assert!(asked.contains(&format!("external: {external}")), "{asked}");
        assert_eq!(asked.matches("Filter {").count(), filters, "{asked}");
    }
}

#[tokio::test]
async fn list() {
    let none = "list ListOptions { all: false, filters: [] }";
    let all = "list ListOptions { all: true, filters: [] }";
    for (query, call) in [
        ("", none),
        ("?all=false&filters=%7B%7D", none),
        ("?all=", none),
        ("?All=on&shared-size=x&filter=y", all),
        ("?Digests=true", none),
        ("?digests=false", none),
    ] {
        assert_eq!(asked("GET", &format!("/v6.0.0/libpod/images/json{query}")).await, [call]);
    }
    // The odd one: nothing is asked, nothing is answered.
    let engine = Arc::new(Fake::default());
    let answer = call(engine.clone(), request("GET", "/v6.0.0/libpod/images/json?digests=1")).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    assert_eq!(answer.header("content-type"), None);
    assert!(engine.calls().is_empty());
}

#[tokio::test]
async fn filters_of_old_and_new_clients() {
    let filters = encoded(&json!({"label": ["v", "1.0"], "label!": ["k"]}));
    let filter = |key: &str, negated: bool, value: &str| {
        format!("Filter {{ key: {key:?}, negated: {negated}, value: {value:?} }}")
    };
    let negated = filter("label", true, "k");
    for (version, parameter, first) in [
        ("v4.3.1", "filters", filter("label", false, "v=1.0")),
        ("v4.3.1", "Filters", filter("label", false, "v=1.0")),
        (
            "v6.0.0",
            "filters",
            [filter("label", false, "v"), filter("label", false, "1.0")].join(", "),
        ),
    ] {
        let target = format!("/{version}/libpod/images/json?{parameter}={filters}");
        let options = format!("ListOptions {{ all: false, filters: [{first}, {negated}] }}");
        assert_eq!(asked("GET", &target).await, [format!("list {options}")]);
    }
}

#[tokio::test]
async fn save() {
    for (route, calls) in [
        ("a/get", &["lookup a", r#"save ["a"] OciArchive false false"#][..]),
        ("a/get?format=", &["lookup a", r#"save ["a"] OciArchive false false"#]),
        ("a/get?format=docker-archive", &["lookup a", r#"save ["a"] DockerArchive false false"#]),
        (
            "a/get?format=docker-dir&compress=1",
            &["lookup a", r#"save ["a"] DockerDirectory false true"#],
        ),
        ("export?references=a&format=oci-dir", &[r#"save ["a"] OciDirectory false false"#]),
        ("export?references=a", &[r#"save ["a"] OciArchive false false"#]),
        (
            "export?references=&references=a&ociacceptuncompressedlayers=true&compress=true",
            &[r#"save ["a"] OciArchive true true"#],
        ),
        (
            "export?references=a,b&references=c%2Fd&format=docker-archive",
            &[r#"save ["a,b", "c/d"] DockerArchive false false"#],
        ),
    ] {
        assert_eq!(asked("GET", &format!("/v5.0.0/libpod/images/{route}")).await, calls, "{route}");
    }
}

#[tokio::test]
async fn remove() {
    let options = |set: &str| {
        let mut text = "RemoveOptions { all: false, force: false, ignore: false, \
                        lookup_manifest: false, no_prune: false }"
            .to_owned();
        for name in set.split_whitespace() {
            text = text.replace(&format!("{name}: false"), &format!("{name}: true"));
        }
        text
    };
    for (route, names, set) in [
        ("a", r#"["a"]"#, ""),
        ("a?force=1&ignore=1&lookupManifest=1", r#"["a"]"#, "force ignore lookup_manifest"),
        // Only the batch route knows these.
        ("a?all=x&noprune=x", r#"["a"]"#, ""),
        ("remove?images=a&images=b%2Fc", r#"["a", "b/c"]"#, ""),
        ("remove?all=true&force=true", "[]", "all force"),
        (
            "remove?all=true&images=a&ignore=t&lookupmanifest=T&noprune=1",
            r#"["a"]"#,
            "all ignore lookup_manifest no_prune",
        ),
    ] {
        let calls = asked("DELETE", &format!("/v5.0.0/libpod/images/{route}")).await;
        assert_eq!(calls, [format!("remove {names} {}", options(set))], "{route}");
    }
    for route in ["remove", "remove?all=false", "remove?images=&force=true"] {
        let calls = asked("DELETE", &format!("/v5.0.0/libpod/images/{route}")).await;
        assert!(calls.is_empty(), "{route}: {calls:?}");
    }
}

#[tokio::test]
async fn tag_and_untag() {
    for (route, calls) in [
        ("a/tag?repo=quay.io/x&tag=", r#"tag a "quay.io/x" """#),
        ("a/tag?repo=x&tag=1", r#"tag a "x" "1""#),
        ("a/untag?repo=&tag=", r#"untag a "" """#),
        ("a/untag?repo=x%2Fy", r#"untag a "x/y" """#),
    ] {
        assert_eq!(asked("POST", &format!("/v5.0.0/libpod/images/{route}")).await, [calls]);
    }
    let engine = Arc::new(Fake::default());
    let form = Request::post("/v5.0.0/libpod/images/a/untag?repo=query&tag=t")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("repo=form%2Fx"))
        .unwrap();
    assert_eq!(call(engine.clone(), form).await.status, 201);
    assert_eq!(engine.calls(), [r#"untag a "form/x" "t""#]);
}

#[tokio::test]
async fn import() {
    let options = |rest: &str| format!("import  ImportOptions {{ {rest} }}");
    for (query, call) in [
        (
            "",
            r#"changes: [], message: "", reference: "", platform: Platform { os: "", architecture: "", variant: "" }"#,
        ),
        (
            "?changes=CMD%20a%2Cb&changes=&Changes=USER+1&message=a+b&reference=x%2Fy:1",
            r#"changes: ["CMD a,b", "USER 1"], message: "a b", reference: "x/y:1", platform: Platform { os: "", architecture: "", variant: "" }"#,
        ),
        (
            "?os=windows&Architecture=arm64&variant=v8&URL=",
            r#"changes: [], message: "", reference: "", platform: Platform { os: "windows", architecture: "arm64", variant: "v8" }"#,
        ),
    ] {
        let target = format!("/v5.0.0/libpod/images/import{query}");
        assert_eq!(asked("POST", &target).await, [options(call)]);
    }
    let target = "/v5.0.0/libpod/images/import?url=http%3A%2F%2Fh%2Fa+b&message=m";
    let call = r#"changes: [], message: "m", reference: "", platform: Platform { os: "", architecture: "", variant: "" }"#;
    let call = format!("import_url http://h/a b ImportOptions {{ {call} }}");
    assert_eq!(asked("POST", target).await, [call]);
}

#[tokio::test]
async fn files_of_the_host_are_for_the_own_user() {
    for (route, call) in [
        ("local/images/load?path=%2Fa%20b", "load_file /a b"),
        ("images/import?url=a%2Fb", "import_file a/b "),
        ("images/pull?quiet=true&reference=oci:%2Fa:b", "pull oci:/a:b for "),
        ("images/pull?reference=docker-daemon:a:1", "pull docker-daemon:a:1 for "),
    ] {
        let target = format!("/v6.0.0/libpod/{route}");
        let engine = Arc::new(Fake::default());
        let answer = call_as_own_user(engine.clone(), request("POST", &target)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(engine.calls()[0].starts_with(call), "{:?}", engine.calls());

        // Nobody is known to be behind a request without credentials, as over TCP.
        let engine = Arc::new(Fake::default());
        let answer = crate::call(engine.clone(), request("POST", &target)).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(engine.calls().is_empty());

        // Another user.
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let peer = ours.peer_cred().unwrap();
        let mut settings = imaged::api::Settings::default();
        settings.user = Some(peer.uid() + 1);
        let mut request = request("POST", &target);
        request.extensions_mut().insert(peer);
        let api = imaged::api::Api::new(engine.clone(), settings);
        let Ok(response) = api.oneshot(request).await;
        assert_eq!(response.status(), 403);
        assert!(engine.calls().is_empty());
    }
}

#[tokio::test]
async fn load_passes_the_body_on_and_its_abortion_too() {
    let target = "/v5.0.0/libpod/images/load?reference=ignored";
    let chunks = |last| {
        let body = Body::from_stream(stream::iter([Ok("a"), Ok("b"), last]));
        Request::post(target).header("content-type", "text/weird").body(body).unwrap()
    };
    let engine = Arc::new(Fake::answering(json!({"Names": ["localhost/a:1"]})));
    let answer = call(engine.clone(), chunks(Ok("c"))).await;
    assert_eq!(answer.text(), "{\"Names\":[\"localhost/a:1\"]}\n");
    assert_eq!(engine.calls(), ["load abc"]);

    let engine = Arc::new(Fake::default());
    let answer = call(engine.clone(), chunks(Err(std::io::Error::other("gone")))).await;
    assert_eq!(answer.status, 503);
    assert!(engine.calls().is_empty());
}
