//! What a registry answers: the distribution protocol on a [`State`].

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::archive::sha256;
use super::super::registry::{PASSWORD, USER};
use super::wire::{Answer, Asked};
use super::{Door, Fault, Manifest, Repository, Shared, State};

impl State {
    /// What goes wrong with this request.
    pub(super) fn fault(&mut self, asked: &Asked) -> Option<Fault> {
        for rule in &mut self.rules {
            if rule.method != asked.method || !asked.target.contains(&rule.part) || rule.times == 0
            {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times = if rule.times == usize::MAX { rule.times } else { rule.times - 1 };
            return Some(rule.fault.clone());
        }
        None
    }

    fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }
}

/// The answer to a request, whose body is read as far as it is wanted.
pub(super) fn answer(
    shared: &Shared,
    asked: &Asked,
    body: &mut dyn Read,
    fault: Option<&Fault>,
) -> io::Result<Answer> {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let query: Vec<(String, String)> = query.split('&').filter_map(field).collect();
    let query =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if path == "/token" {
        let mut state = shared.state();
        state.next += 1;
        let token = format!("token-{}", state.next);
        state.tokens.insert(token.clone());
        return Ok(Answer::new(200, json!({"token": token}).to_string().into_bytes()));
    }
    if let Some(refused) = refused(shared, asked) {
        return Ok(refused);
    }
    let Some(path) = path.strip_prefix("/v2/") else { return Ok(error(404, "NAME_UNKNOWN")) };
    if path.is_empty() {
        return Ok(Answer::new(200, *b"{}"));
    }
    let method = &*asked.method;
    if let Some((repository, upload)) = path.split_once("/blobs/uploads/") {
        return upload_answer(shared, asked, repository, upload, &query, body);
    }
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        let state = shared.state();
        let blob = state.repository(repository).and_then(|it| it.blobs.get(digest)).cloned();
        drop(state);
        let Some(blob) = blob else { return Ok(error(404, "BLOB_UNKNOWN")) };
        let answer = Answer::new(200, blob)
            .with("Accept-Ranges", "bytes")
            .with("Docker-Content-Digest", digest)
            .with("Content-Type", "application/octet-stream");
        return Ok(ranged(answer, asked.header("range"), fault));
    }
    if let Some((repository, reference)) = path.split_once("/manifests/") {
        if method == "PUT" {
            return put_manifest(shared, asked, repository, reference, body);
        }
        let mut state = shared.state();
        if method == "DELETE" {
            let found = state.repositories.get_mut(repository);
            let found = found.and_then(|repository| repository.manifests.remove(reference));
            return Ok(match found {
                Some(_) => Answer::new(202, Vec::new()),
                None => error(404, "MANIFEST_UNKNOWN"),
            });
        }
        let found = state.repository(repository).and_then(|it| it.manifests.get(reference));
        return Ok(match found {
            Some(manifest) => Answer::new(200, manifest.body.clone())
                .with("Content-Type", &*manifest.media_type)
                .with("Docker-Content-Digest", sha256(&manifest.body)),
            None => error(404, "MANIFEST_UNKNOWN"),
        });
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        let state = shared.state();
        let Some(repository) = state.repository(name) else {
            return Ok(error(404, "NAME_UNKNOWN"));
        };
        let tags = repository.manifests.keys().filter(|tag| !tag.contains(':'));
        let list = json!({"name": name, "tags": tags.collect::<Vec<_>>()});
        return Ok(Answer::new(200, list.to_string().into_bytes()));
    }
    Ok(error(404, "UNSUPPORTED"))
}

/// The answer to somebody who may not ask.
fn refused(shared: &Shared, asked: &Asked) -> Option<Answer> {
    let shown = asked.header("authorization");
    let challenge = match shared.door {
        Door::Open => return None,
        Door::Password => {
            let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            if shown == Some(&expected) {
                return None;
            }
            "Basic realm=\"here\"".to_owned()
        }
        Door::Token => {
            let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
            if token.is_some_and(|token| shared.state().tokens.contains(token)) {
                return None;
            }
            let error = if token.is_some() { ",error=\"invalid_token\"" } else { "" };
            format!("Bearer realm=\"http://{}/token\",service=\"here\"{error}", shared.address)
        }
    };
    Some(error(401, "UNAUTHORIZED").with("WWW-Authenticate", challenge))
}

fn upload_answer<'a>(
    shared: &Shared,
    asked: &Asked,
    repository: &str,
    upload: &str,
    query: &impl Fn(&str) -> Option<&'a str>,
    body: &mut dyn Read,
) -> io::Result<Answer> {
    if asked.method == "POST" {
        let mut state = shared.state();
        if let (Some(digest), Some(from)) = (query("mount"), query("from"))
            && let Some(blob) = state.repository(from).and_then(|it| it.blobs.get(digest)).cloned()
        {
            let target = state.repositories.entry(repository.to_owned()).or_default();
            target.blobs.insert(digest.to_owned(), blob);
            return Ok(created(repository, "blobs", digest));
        }
        state.next += 1;
        let number = state.next;
        state.uploads.insert(number, (repository.to_owned(), Vec::new()));
        return Ok(going_on(202, repository, number, 0));
    }
    let number = upload.parse().unwrap_or(0);
    let known = shared.state().uploads.get(&number).map(|(name, have)| (name.clone(), have.len()));
    let Some((_, have)) = known.filter(|(name, _)| name == repository) else {
        return Ok(error(404, "BLOB_UPLOAD_UNKNOWN"));
    };
    match &*asked.method {
        "GET" => return Ok(going_on(204, repository, number, have)),
        "DELETE" => {
            shared.state().uploads.remove(&number);
            return Ok(Answer::new(204, Vec::new()));
        }
        "PATCH" | "PUT" => {}
        _ => return Ok(error(405, "UNSUPPORTED")),
    }
    let begin = asked.header("content-range").and_then(|range| range.split('-').next());
    if begin.is_some_and(|begin| begin.parse() != Ok(have)) {
        return Ok(going_on(416, repository, number, have));
    }
    // What has come counts also if the rest does not come.
    let mut buffer = vec![0; 64 * 1024];
    let mut have = have;
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if let Some((_, content)) = shared.state().uploads.get_mut(&number) {
            content.extend_from_slice(&buffer[..count]);
            have = content.len();
        }
    }
    if asked.method == "PATCH" {
        return Ok(going_on(202, repository, number, have));
    }
    let mut state = shared.state();
    let Some((_, content)) = state.uploads.remove(&number) else {
        return Ok(error(404, "BLOB_UPLOAD_UNKNOWN"));
    };
    let digest = query("digest").unwrap_or_default();
    if sha256(&content) != digest {
        return Ok(error(400, "DIGEST_INVALID"));
    }
    let target = state.repositories.entry(repository.to_owned()).or_default();
    target.blobs.insert(digest.to_owned(), content.into());
    Ok(created(repository, "blobs", digest))
}

fn put_manifest(
    shared: &Shared,
    asked: &Asked,
    repository: &str,
    reference: &str,
    body: &mut dyn Read,
) -> io::Result<Answer> {
    let mut content = Vec::new();
    body.read_to_end(&mut content)?;
    let digest = sha256(&content);
    if reference.contains(':') && reference != digest {
        return Ok(error(400, "DIGEST_INVALID"));
    }
    let Ok(document) = serde_json::from_slice::<Value>(&content) else {
        return Ok(error(400, "MANIFEST_INVALID"));
    };
    let mut state = shared.state();
    let target = state.repositories.entry(repository.to_owned()).or_default();
    let layers = document["layers"].as_array().into_iter().flatten();
    let parts = layers.chain(document.get("config"));
    let lists = document["manifests"].as_array().into_iter().flatten();
    let name = |part: &Value| part["digest"].as_str().unwrap_or_default().to_owned();
    if !parts.map(name).all(|digest| target.blobs.contains_key(&digest))
        || !lists.map(name).all(|digest| target.manifests.contains_key(&digest))
    {
        return Ok(error(400, "MANIFEST_BLOB_UNKNOWN"));
    }
    let media_type = asked.header("content-type").unwrap_or_default().to_owned();
    let manifest = Manifest { media_type, body: content.into() };
    target.manifests.insert(digest.clone(), manifest.clone());
    target.manifests.insert(reference.to_owned(), manifest);
    Ok(created(repository, "manifests", &digest))
}

fn created(repository: &str, kind: &str, digest: &str) -> Answer {
    Answer::new(201, Vec::new())
        .with("Location", format!("/v2/{repository}/{kind}/{digest}"))
        .with("Docker-Content-Digest", digest)
}

fn going_on(status: u16, repository: &str, number: usize, have: usize) -> Answer {
    Answer::new(status, Vec::new())
        .with("Location", format!("/v2/{repository}/blobs/uploads/{number}?state=opaque"))
        .with("Docker-Upload-UUID", number.to_string())
        .with("Range", format!("0-{}", have.saturating_sub(1)))
}

/// The part of a body that is asked for.
fn ranged(answer: Answer, range: Option<&str>, fault: Option<&Fault>) -> Answer {
    let Some((begin, end)) = range.and_then(|it| it.strip_prefix("bytes=")?.split_once('-')) else {
        return answer;
    };
    if matches!(fault, Some(Fault::WholeBody)) {
        return answer;
    }
    let size = answer.body.len();
    if size == 0 {
        return answer;
    }
    let (Ok(mut begin), Ok(end)) =
        (begin.parse::<usize>(), if end.is_empty() { Ok(size - 1) } else { end.parse::<usize>() })
    else {
        return answer;
    };
    let end = end.min(size - 1);
    if begin > end {
        return error(416, "RANGE_INVALID").with("Content-Range", format!("bytes */{size}"));
    }
    if matches!(fault, Some(Fault::OtherRange)) {
        begin = if begin == 0 { 1.min(end) } else { begin - 1 };
    }
    let mut answer = answer.with("Content-Range", format!("bytes {begin}-{end}/{size}"));
    answer.status = 206;
    answer.range = begin..end + 1;
    answer
}

pub(super) fn error(status: u16, code: &str) -> Answer {
    let document = json!({"errors": [{"code": code, "message": code.to_lowercase()}]});
    Answer::new(status, document.to_string().into_bytes()).with("Content-Type", "application/json")
}

fn field(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=')?;
    let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
    Some((name.to_owned(), value.into_owned()))
}
