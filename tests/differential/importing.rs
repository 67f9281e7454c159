//! Trees that become images.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::content::layer;
use crate::pair::Request;
use crate::play::Play;

pub(crate) fn play(play: &mut Play) {
    from_a_file(play);
    from_the_body(play);
    refused(play);
}

/// Files of the server, whose time becomes the image's, so that the same image comes out.
fn from_a_file(play: &mut Play) {
    let modified = UNIX_EPOCH + Duration::from_millis(1_600_000_000_250);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer(61).tar).unwrap();
    let packed = gzip.finish().unwrap();
    for side in [&play.pair.ours, &play.pair.theirs] {
        for (name, content) in [("tree.tar", &layer(60).tar), ("tree.tar.gz", &packed)] {
            let mut file = File::create(side.store.path(name)).unwrap();
            file.write_all(content).unwrap();
            file.set_modified(modified).unwrap();
        }
    }
    let url = "/images/import?URL=$dir/tree.tar";
    for (number, changes) in CHANGES.iter().enumerate() {
        let mut route = format!("{url}&reference=imported:{number}");
        for change in *changes {
            route.push_str("&changes=");
            route.push_str(&change.replace('%', "%25").replace('&', "%26").replace('+', "%2B"));
        }
        play.post(&route);
        play.get(&format!("/images/imported:{number}/json"));
    }
    for query in [
        "&message=a%20message&reference=quay.io/imported/app:V1",
        "&os=windows&architecture=arm64&reference=imported:platform",
        "&OS=&Architecture=&reference=imported:platform2",
        "&reference=docker.io/imported",
        "&reference=imported@sha256:$base",
        "",
    ] {
        play.post(&format!("{url}{query}"));
    }
    play.post("/images/import?url=$dir/tree.tar.gz&reference=imported:packed");
    // The order of the members of a config is another one since it has a variant.
    let route = "/images/import?URL=$dir/tree.tar&variant=v8&reference=imported:variant";
    remember(play, route, &[], "variant");
    for name in [
        "quay.io/imported/app:V1",
        "imported:platform",
        "imported:platform2",
        "docker.io/library/imported",
        "imported:packed",
        "imported:variant",
    ] {
        play.get(&format!("/images/{name}/json"));
        play.get(&format!("/images/{name}/history"));
    }
    let mut all = "/images/remove?force=true".to_owned();
    for number in 0..CHANGES.len() {
        all.push_str(&format!("&images=imported:{number}"));
    }
    for name in ["quay.io/imported/app:V1", "imported:platform", "imported:platform2"] {
        all.push_str(&format!("&images={name}"));
    }
    play.delete(&all);
    play.delete("/images/remove?images=imported:packed&images=docker.io/imported&images=$variant");
    play.get("/images/json");
}

/// An import whose image has an ID that the servers cannot agree on.
fn remember(play: &mut Play, route: &str, body: &[u8], symbol: &str) {
    play.request_remembering(
        route,
        &Request {
            method: "POST".to_owned(),
            target: format!("/v5.0.0/libpod{route}"),
            body: body.to_vec(),
            ..Request::default()
        },
        &[(symbol, "/Id")],
    );
}

/// Instructions that are given together.
const CHANGES: &[&[&str]] = &[
    &[],
    &["CMD echo hello"],
    &["CMD [\"a\", \"b c\"]", "ENTRYPOINT [\"/e\"]"],
    &["CMD [not json", "ENTRYPOINT run <it> & go"],
    &["ENTRYPOINT=/bin/sh", "CMD=[\"x\"]"],
    &["ENV A=1", "ENV A=2", "ENV B", "ENV C=x y z", "ENV \"D\"=\"quoted\"", "env e=f=g"],
    &["EXPOSE 80", "EXPOSE 53/udp", "EXPOSE 8080/TCP", "expose 1/Tcp"],
    &["VOLUME /a", "VOLUME /b /c", "VOLUME [\"/d\", \"/e f\"]"],
    &["WORKDIR /w", "WORKDIR x", "WORKDIR ../y"],
    &["WORKDIR relative"],
    &["USER root", "USER 1:2"],
    &["LABEL a=b", "LABEL c=\"d e\"", "LABEL \"f\"=g=h", "LABEL i=", "LABEL a=c"],
    &["STOPSIGNAL SIGINT"],
    &["STOPSIGNAL 9"],
    &["STOPSIGNAL term"],
    &["STOPSIGNAL RTMIN+3"],
    &["ONBUILD RUN x", "USER   spaced  "],
];

/// Changes that are refused.
const BAD_CHANGES: &[&str] = &[
    "BOGUS x",
    "USER",
    "USER ",
    "CMD",
    "EXPOSE abc",
    "EXPOSE 70000",
    "EXPOSE 0",
    "EXPOSE 80/icmp",
    "EXPOSE 80/tcp/udp",
    "ENV =x",
    "VOLUME []",
    "VOLUME [\"\"]",
    "WORKDIR ",
    "LABEL a",
    "LABEL =b",
    "STOPSIGNAL FOO",
    "STOPSIGNAL 999",
    "ONBUILD ",
    "HEALTHCHECK NONE",
];

/// The time of the upload is in the image, and so its ID differs.
fn from_the_body(play: &mut Play) {
    for (number, query) in [
        "?reference=body:1&message=m",
        "?reference=body:1",
        "",
        "?reference=body:2&changes=USER%20x",
    ]
    .into_iter()
    .enumerate()
    {
        let symbol = format!("uploaded{number}");
        remember(play, &format!("/images/import{query}"), &layer(62).tar, &symbol);
        play.get(&format!("/images/${symbol}/json"));
    }
    play.get("/images/body:1/history");
    // Without anything in it.
    remember(play, "/images/import?reference=empty", b"", "uploaded-nothing");
    play.get("/images/empty/json");
    play.delete("/images/remove?images=empty&images=body:1&images=body:2&images=$uploaded0&images=$uploaded2");
}

fn refused(play: &mut Play) {
    for change in BAD_CHANGES {
        play.post(&format!("/images/import?URL=$dir/tree.tar&changes={change}"));
    }
    // One of them is none that is refused.
    play.post(r#"/images/prune?filters={"until":["2020-09-14"]}"#);
    play.post("/images/import?URL=$dir/none.tar");
    play.post("/images/import?URL=relative.tar");
    play.send("POST", "/images/import", b"this is no tar");
}
