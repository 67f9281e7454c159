//! Searches of registries, and logins at them.

use std::fs;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::http::PREFIX;
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::server::{imaged, podman_service};
use crate::support::tool::{command, run};
use crate::support::web::{Reply, Web};
use crate::support::{Response, Server, Store};

/// The daemon with `registries.conf`, whose home is the store's directory.
fn start(store: &Store, registries: &str) -> Server {
    let socket = store.path("api.sock");
    let mut command = imaged(store, &socket);
    fs::write(store.path("registries.conf"), registries).unwrap();
    command.env("CONTAINERS_REGISTRIES_CONF", store.path("registries.conf"));
    command.env("REGISTRY_AUTH_FILE", store.path("auth.json"));
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{path}:{}", store.dir().display()));
    command.env("HOME", store.dir()).env("IMAGED_LOG", "trace");
    Server::spawn(store, &mut command, &socket)
}

fn search(server: &Server, query: &str) -> Response {
    server.client().get(&format!("/images/search?{query}"))
}

fn names(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|hit| hit["Name"].as_str().unwrap()).collect()
}

fn encoded(json: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(json.to_string())
}

fn login(password: &str) -> Value {
    json!({"username": USER, "password": password})
}

/// The same questions to the reference server, on the same registry.
#[test]
fn searches_equal_podmans() {
    let store = Store::new();
    let registry = Registry::plain();
    registry.push(&["app:1", "team/app:2", "team/app:1", "other:1"]);
    let host = registry.host();
    let server = start(&store, "");
    let socket = store.path("podman.sock");
    let mut podman = podman_service(&store, &socket);
    podman.env("CONTAINERS_REGISTRIES_CONF", store.path("registries.conf"));
    let podman = Server::spawn(&store, &mut podman, &socket);
    for query in [
        format!("term={host}/app&tlsVerify=false"),
        format!("term={host}/&tlsVerify=false"),
        format!("term={host}/nothing&tlsVerify=false"),
        format!("term={host}/app&tlsVerify=false&limit=1"),
        format!("term={host}/app&tlsVerify=false&filters={{\"stars\":[\"1\"]}}"),
        format!("term={host}/app&tlsVerify=false&filters={{\"is-official\":[\"false\"]}}"),
        format!("term={host}/app&tlsVerify=false&filters={{bad"),
        format!("term={host}/team/app&listTags=true&tlsVerify=false"),
        format!("term={host}/team/app&listTags=true&tlsVerify=false&limit=1"),
        format!("term={host}/app&filters={{\"foo\":[\"1\"]}}"),
        format!("term={host}/app&filters={{\"stars\":[\"x\"]}}"),
        format!("term={host}/app"),
        format!("term={host}/app&listTags=true&tlsVerify=true"),
        "term=127.0.0.1:1/app&tlsVerify=false".to_owned(),
    ] {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let (ours, theirs) = (search(&server, &query), search(&podman, &query));
        assert_eq!(ours.status, theirs.status, "{query}");
        assert_eq!(ours.json(), theirs.json(), "{query}");
    }
    let remote = |server: &Server| {
        let term = format!("{host}/team");
        server.remote(["search", "--tls-verify=false", "--format", "{{.Index}} {{.Name}}", &term])
    };
    assert_eq!(remote(&server), format!("{host} {host}/team/app"));
    assert_eq!(remote(&podman), remote(&server));
}

#[test]
fn registries_of_the_host_are_searched() {
    let (first, second) = (Registry::plain(), Registry::plain());
    first.push(&["a/app:1"]);
    second.push(&["b/app:1", "b/other:1"]);
    let (one, two) = (first.host(), second.host());
    let store = Store::new();
    let server = start(
        &store,
        &format!(
            "unqualified-search-registries = ['{one}', '127.0.0.1:1', '{two}']\n\
             [[registry]]\nlocation = '{one}'\ninsecure = true\n\
             [[registry]]\nlocation = '{two}'\ninsecure = true\n\
             [[registry]]\nlocation = 'blocked.example'\nblocked = true\n"
        ),
    );
    let found = search(&server, "term=app").expect(200).json();
    assert_eq!(names(&found), [format!("{one}/a/app"), format!("{two}/b/app")]);
    // One that does not answer counts if nothing else is found.
    let failed = search(&server, "term=nothing").expect(500).json();
    let message = "1 error occurred:\n\t* couldn't search registry \"127.0.0.1:1\": \
                   pinging container registry 127.0.0.1:1: Get \"https://127.0.0.1:1/v2/\": \
                   dial tcp 127.0.0.1:1: connect: connection refused\n\n";
    assert_eq!(failed["message"], message);
    assert_eq!(failed["cause"], "connection refused");
    let blocked = search(&server, "term=blocked.example/x").expect(500).json();
    let text = blocked["message"].as_str().unwrap();
    assert!(text.contains("registry blocked.example is blocked in "), "{text}");
}

#[test]
fn certificates_and_passwords() {
    let registry = Registry::start(Setup {
        tls: true,
        client_certificate: true,
        password: true,
        ..Setup::default()
    });
    registry.push(&["app:1"]);
    let host = registry.host();
    let store = Store::new();
    let server = start(&store, "");
    let query = format!("term={host}/app");
    let with = |header: &str, value: &Value| {
        let path = format!("{PREFIX}/images/search?{query}");
        server.client().get_with(&path, &[(header, &encoded(value))])
    };
    let reason = |answer: Response| answer.expect(500).json()["message"].to_string();
    // Nobody trusts the authority yet.
    let text = reason(search(&server, &query));
    assert!(text.contains("x509: certificate signed by unknown authority"), "{text}");
    // It does not need to be trusted, but the registry wants to see a certificate too.
    let text = reason(search(&server, &format!("{query}&tlsVerify=false")));
    assert!(text.contains("pinging container registry"), "{text}");

    registry.make_known(store.dir());
    let text = reason(search(&server, &query));
    let refused = format!("couldn't search registry \\\"{host}\\\": authentication required");
    assert!(text.contains(&refused), "{text}");
    let hit = [format!("{host}/app")];
    assert_eq!(names(&with("X-Registry-Auth", &login(PASSWORD)).expect(200).json()), hit);
    let named = json!({"example.com": login("other"), &host: login(PASSWORD)});
    assert_eq!(names(&with("X-Registry-Auth", &named).expect(200).json()), hit);
    assert_eq!(names(&with("X-Registry-Config", &named).expect(200).json()), hit);
    with("X-Registry-Auth", &login("wrong-pw")).expect(500);

    // The host's own login, unless the caller brings others.
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let file = json!({"auths": {&host: {"auth": auth}}});
    fs::write(store.path("auth.json"), file.to_string()).unwrap();
    assert_eq!(names(&search(&server, &query).expect(200).json()), hit);
    let tags = search(&server, &format!("{query}&listTags=true")).expect(200).json();
    assert_eq!(tags[0]["Tag"], "1");
    with("X-Registry-Config", &json!({"example.com": login(PASSWORD)})).expect(500);

    // That of a helper.
    let helper = store.path("docker-credential-test");
    let answer = json!({"Username": USER, "Secret": PASSWORD});
    let script =
        format!("#!/bin/sh\nread key; [ \"$1 $key\" = 'get {host}' ] && echo '{answer}'\n");
    // By a shell: as long as a process forked here has it open for writing, it cannot be run.
    let write = r#"printf %s "$1" >"$2" && chmod 755 "$2""#;
    run(&mut command("sh", ["-c", write, "sh", &script, &helper.display().to_string()]));
    let file = json!({"credHelpers": {&host: "test"}});
    fs::write(store.path("auth.json"), file.to_string()).unwrap();
    assert_eq!(names(&search(&server, &query).expect(200).json()), hit);
    let log = server.log();
    assert!(!log.contains(PASSWORD) && !log.contains("wrong-pw") && !log.contains(&auth));
}

#[test]
fn logins_are_checked_and_not_kept() {
    let registry = Registry::start(Setup { tls: true, password: true, ..Setup::default() });
    let store = Store::new();
    let server = start(&store, "");
    let check = |address: &str, password: &str| {
        let mut body = login(password);
        body["serveraddress"] = json!(address);
        server.client().post_json("/v1.41/auth", &body)
    };
    let local = registry.localhost();
    let accepted = json!({"IdentityToken": "", "Status": "Login Succeeded"});
    for address in [local.clone(), format!("https://{local}"), format!("https://{local}/v2/")] {
        assert_eq!(check(&address, PASSWORD).expect(200).json(), accepted);
        let refused = format!("login attempt to {address} failed with status: 401 Unauthorized");
        assert_eq!(check(&address, "wrong-pw").expect(500).json(), json!({"message": refused}));
    }
    // Elsewhere certificates count.
    let host = registry.host();
    let text = check(&host, PASSWORD).expect(500).json()["message"].to_string();
    assert!(text.contains("x509: certificate signed by unknown authority"), "{text}");
    registry.make_known(store.dir());
    assert_eq!(check(&host, PASSWORD).expect(200).json(), accepted);
    assert!(!store.path("auth.json").exists());
    let log = server.log();
    assert!(!log.contains(PASSWORD) && !log.contains("wrong-pw"), "{log}");
}

/// A registry with a token service, pages that lead on, and one that leads away.
#[test]
fn tokens_and_pages() {
    let thief = Web::serve(|_| Reply::ok(r#"{"repositories":["stolen"]}"#));
    let away = thief.url("/v2/_catalog");
    let service = Web::serve(|asked| {
        let known = asked.header("authorization") == Some("Basic c29tZWJvZHk6c2VjcmV0LXB3");
        let token = asked.body.contains("refresh_token=id%2Bt&");
        match &*asked.method {
            "GET" if known => Reply::ok(r#"{"token":"good"}"#),
            "POST" if token => Reply::ok(r#"{"access_token":"good"}"#),
            "GET" if asked.header("authorization").is_none() => Reply::ok(r#"{"token":"anon"}"#),
            _ => Reply::new("401 Unauthorized", "", r#"{"details":"who are you"}"#),
        }
    });
    let realm = service.url("/token");
    let registry = Web::serve(move |asked| {
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"the registry\"\r\n");
        let allowed = asked.header("authorization") == Some("Bearer good");
        let next = |page: &str| format!("Link: <{page}>; rel=\"next\"\r\n");
        match &*asked.target {
            "/v2/" => Reply::new("401 Unauthorized", &challenge, ""),
            "/v2/_catalog" if allowed => {
                let page = next("/v2/_catalog?last=b%2Fx&n=2");
                Reply::new("200 OK", &page, r#"{"repositories":["a/x","b/x"]}"#)
            }
            "/v2/_catalog?last=b%2Fx&n=2" if allowed => {
                Reply::new("200 OK", &next("?last=x"), r#"{"repositories":["x","none"]}"#)
            }
            "/v2/_catalog?last=x" if allowed => Reply::ok(r#"{"repositories":null}"#),
            "/v2/a/x/tags/list" => {
                let page = next("http://elsewhere.example/v2/a/x/tags/list?last=1");
                Reply::new("200 OK", &page, r#"{"tags":["1",null,"sha256:0","2"]}"#)
            }
            "/v2/a/x/tags/list?last=1" => Reply::ok(r#"{"tags":["3"]}"#),
            "/v2/away/tags/list" => Reply::to(&away),
            target if target.starts_with("/v1/") => Reply::new("404 Not Found", "", ""),
            _ => Reply::new(
                "401 Unauthorized",
                "WWW-Authenticate: Bearer realm=\"x\",error=\"insufficient_scope\"\r\n",
                "",
            ),
        }
    });
    let host = registry.host();
    let store = Store::new();
    let server = start(&store, "");
    let ask = |query: &str, login: &Value| {
        let path = format!("{PREFIX}/images/search?term={host}/{query}&tlsVerify=false");
        server.client().get_with(&path, &[("X-Registry-Auth", &encoded(login))])
    };
    // What was asked for literally comes first.
    let expected = ["x", "a/x", "b/x"].map(|name| format!("{host}/{name}"));
    assert_eq!(names(&ask("x", &login(PASSWORD)).expect(200).json()), expected);
    let token = json!({"identitytoken": "id+t"});
    assert_eq!(names(&ask("x", &token).expect(200).json()), expected);
    assert_eq!(
        names(&ask("x&limit=2", &token).expect(200).json()),
        ["a/x", "b/x"].map(|name| format!("{host}/{name}"))
    );
    let refused = ask("x", &json!({})).expect(500).json();
    let reason = "denied: requested access to the resource is denied";
    assert_eq!(refused["cause"], reason);
    let refused = ask("x", &login("wrong-pw")).expect(500).json();
    assert_eq!(refused["cause"], "unauthorized: who are you");

    let tags = ask("a/x&listTags=true", &login(PASSWORD)).expect(200).json();
    let tags: Vec<_> = tags.as_array().unwrap().iter().map(|hit| hit["Tag"].clone()).collect();
    assert_eq!(tags, ["1", "2", "3"]);
    let asked: Vec<_> = service.seen().iter().map(|asked| asked.target.clone()).collect();
    let scope = "/token?service=the+registry&scope=repository%3Aa%2Fx%3Apull&account=somebody";
    assert_eq!(asked.last().unwrap(), scope);
    // Who asks is nobody else's business.
    ask("away&listTags=true", &login(PASSWORD)).expect(200);
    assert!(thief.seen().iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(thief.seen().len(), 1);
    // Nor that of a token service without TLS, for a registry with it.
    let log = server.log();
    assert!(!log.contains(PASSWORD) && !log.contains("id+t") && !log.contains("good"));
}

#[test]
fn an_index_is_searched() {
    let registry = Web::serve(|asked| match &*asked.target {
        "/v2/" => Reply::ok("{}"),
        "/v1/search?n=3&q=a%2Fb%20c" => Reply::ok(
            r#"{"num_results":4,"results":[
                {"name":"a/b","description":"one\nline","star_count":7,"is_official":true,"is_automated":false},
                {"name":"c","description":null,"star_count":2,"is_automated":true},
                {"name":"d"},
                {"name":"e"}]}"#,
        ),
        other => panic!("{other}"),
    });
    let host = registry.host();
    let store = Store::new();
    let server = start(&store, "");
    let ask = |more: &str| {
        let query = format!("term={host}/a/b%20c&limit=3&tlsVerify=false{more}");
        search(&server, &query).expect(200).json()
    };
    let found = ask("");
    assert_eq!(names(&found), ["a/b", "c", "d"].map(|name| format!("{host}/{name}")));
    assert_eq!(
        found[0],
        json!({"Index": host, "Name": format!("{host}/a/b"), "Description": "one line", "Stars": 7,
               "Official": "[OK]", "Automated": "", "Tag": ""})
    );
    for (filters, expected) in [
        (r#"{"stars":["2"]}"#, &["a/b", "c"][..]),
        (r#"{"is-official":["true"]}"#, &["a/b"]),
        (r#"{"is-automated":["false"]}"#, &["a/b", "d"]),
        (r#"{"stars":["1"],"is-official":["false"]}"#, &["c"]),
    ] {
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let found = ask(&format!("&filters={filters}"));
        let expected: Vec<_> = expected.iter().map(|name| format!("{host}/{name}")).collect();
        assert_eq!(names(&found), expected, "{filters}");
    }
}
