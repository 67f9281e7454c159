//! Names given and taken. What was done is read back each time.

use crate::pair::Request;
use crate::play::Play;

pub(crate) fn play(play: &mut Play) {
    for query in [
        "?repo=quay.io/new/name&tag=1",
        "?repo=short&tag=",
        "?repo=short",
        "?repo=ns/short&tag=a",
        "?repo=docker.io/thing&tag=1",
        "?repo=index.docker.io/other&tag=1",
        "?repo=localhost:5000/reg&tag=V1.0_x",
        "?repo=localhost/base&tag=latest",
        "?REPO=upper.test/key&TAG=x",
        "?repo=first&repo=second&tag=1&tag=2",
        "",
        "?repo=",
        "?tag=1",
        "?repo=UPPER&tag=x",
        "?repo=x:1&tag=2",
        "?repo=x&tag=-bad",
        "?repo=x&tag=a%20b",
        "?repo=sha256&tag=x",
        "?repo=sha256:$base&tag=x",
        "?repo=base@sha256:$base&tag=",
        "?repo=0000000000000000000000000000000000000000000000000000000000000000&tag=",
        "?repo=a//b&tag=1",
        "?repo=/a&tag=1",
    ] {
        play.post(&format!("/images/base/tag{query}"));
    }
    play.get_all(["/images/base/json", "/images/json"]);
    for name in ["nobody", "UPPER", "list:1", "nothing:1", "$lost", "leaf:1"] {
        play.post(&format!("/images/{name}/tag?repo=moving&tag=1"));
        play.get("/images/json?all=true");
    }
    play.post("/images/nobody/tag");
    play.post("/images/UPPER/tag?repo=UPPER");
    form(play, "/images/base/tag?repo=query", "repo=form&tag=1");
    form(play, "/images/base/tag", "repo=onlyform");
    form(play, "/images/base/untag?repo=form&tag=2", "tag=1");

    for route in [
        "/images/base/untag?repo=quay.io/new/name&tag=1",
        "/images/base/untag?repo=short",
        "/images/base/untag?repo=short",
        "/images/base/untag?repo=thing&tag=1",
        "/images/base/untag?repo=docker.io/thing&tag=1",
        "/images/base/untag?repo=moving&tag=1",
        "/images/base/untag?repo=nothere&tag=x",
        "/images/base/untag?tag=1",
        "/images/base/untag?repo=UPPER&tag=1",
        "/images/base/untag?repo=base@sha256:$base&tag=",
        "/images/base/untag?repo=base&tag=a%20b",
        "/images/base/untag?repo=sha256&tag=x",
        "/images/base/untag?repo=sha256:$base&tag=x",
        "/images/nobody/untag",
        "/images/nobody/untag?repo=base",
        "/images/nobody/untag?tag=1",
        "/images/UPPER/untag",
        "/images/list:1/untag?repo=list&tag=1",
        "/images/list:1/untag?repo=leaf&tag=1",
        "/images/nothing:1/untag?repo=nothing&tag=1",
        "/images/$lost/untag",
        "/images/rich:1/untag",
        "/images/rich:1/untag",
        "/images/quay.io/by/digest@sha256:$pinned/untag?repo=quay.io/by/digest@sha256:$pinned",
        "/images/quay.io/by/digest@sha256:$pinned/tag?repo=quay.io/by/digest&tag=named",
        "/images/quay.io/by/digest@sha256:$pinned/untag",
    ] {
        play.post(route);
    }
    play.get_all(["/images/json?all=true", "/images/base/json", "/images/list:1/json"]);
}

/// `POST` of a form.
fn form(play: &mut Play, route: &str, body: &str) {
    let kind = "application/x-www-form-urlencoded";
    play.request(
        &format!("{route} with form {body}"),
        &Request {
            method: "POST".to_owned(),
            target: format!("/v5.0.0/libpod{route}"),
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: body.as_bytes().to_vec(),
        },
    );
}
