//! How a registry wants to be told who asks: `WWW-Authenticate`.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter. Names are in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer, in order.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

/// `scheme name=value, name="value", scheme …`. What does not fit ends it.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(rest);
        if name.is_empty() {
            return challenges;
        }
        let value = after.trim_start();
        match (value.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let Some((value, after)) = parameter(value.trim_start()) else { return challenges };
                challenge.parameters.push((name.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                let scheme = name.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A token and what follows it.
fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?={}".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("Basic realm=\"a, b\"", "basic realm=a, b"),
            (
                r#"Bearer realm="https://h/t?x=1",service="s \"q\"",scope="repository:a:pull,push""#,
                r#"bearer realm=https://h/t?x=1 service=s "q" scope=repository:a:pull,push"#,
            ),
            ("Bearer realm=x, Basic realm=\"y\"", "bearer realm=x|basic realm=y"),
            ("Negotiate, basic Realm = y", "negotiate|basic realm=y"),
            ("Negotiate", "negotiate"),
            ("", ""),
            ("realm=x", ""),
            ("Basic realm=\"open", "basic"),
            ("Basic realm=\"ö\"", "basic realm=ö"),
        ] {
            let text_of = |challenge: &Challenge| {
                let mut text = challenge.scheme.clone();
                for (name, value) in &challenge.parameters {
                    text.push_str(&format!(" {name}={value}"));
                }
                text
            };
            let found: Vec<_> = parse(text).iter().map(text_of).collect();
            assert_eq!(found.join("|"), expected, "{text}");
        }
    }
}
