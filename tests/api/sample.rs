//! Recorded answers, read back.

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::Request;

/// A request and Podman's answer to it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) target: String,
    request_headers: Vec<(String, String)>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Sample {
    /// All samples of a route.
    pub(crate) fn all(route: &str) -> Vec<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/samples").join(route);
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(route, path)).collect()
    }

    fn read(route: &str, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().skip_while(|line| line.starts_with('#'));
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = |lines: &mut dyn Iterator<Item = &str>| -> Vec<_> {
            lines
                .take_while(|line| !line.is_empty())
                .filter_map(|line| line.split_once(':'))
                .filter(|(name, _)| !name.starts_with('('))
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect()
        };
        let request_headers = headers(&mut lines);
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let answer_headers = headers(&mut lines);
        let body: Vec<_> = lines.collect();
        Self {
            name: format!("{route}/{}", path.file_stem().unwrap().to_str().unwrap()),
            method: method.to_owned(),
            target: rest.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
            request_headers,
            status,
            headers: answer_headers,
            body: match body.join("\n") {
                empty if empty == "(empty body)" => String::new(),
                other => other,
            },
        }
    }

    /// The request, with `body`.
    pub(crate) fn request(&self, body: &'static str) -> Request {
        let mut request = Request::builder().method(&*self.method).uri(&*self.target);
        for (name, value) in &self.request_headers {
            request = request.header(name, value);
        }
        request.body(Body::from(body)).unwrap()
    }

    /// The body as JSON, or null.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}
