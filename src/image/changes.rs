//! The `changes` of an import: a few instructions of Dockerfiles, applied to an empty config.
//!
//! The grammar is Podman's, and so are the words about what does not fit it: clients show them.

use std::collections::BTreeMap;
use std::num::IntErrorKind;

use super::document::{Empty, OciContainerConfig};
use super::signal;

/// Why a change cannot be made. `Display` is the text up to the cause, which is the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid change {change:?} - {problem}")]
pub struct ChangeError {
    change: String,
    problem: String,
    #[source]
    cause: Option<Cause>,
}

/// What Podman wraps in a [`ChangeError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range")]
    Range,
    #[error("invalid signal: {0}")]
    Signal(String),
}

/// What is wrong with one change, before it is known which.
struct Problem {
    text: String,
    cause: Option<Cause>,
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), cause: None }
    }
}

/// The container config that `changes`, in this order, make of an empty one.
///
/// # Errors
/// The first change that cannot be made.
pub(crate) fn container_config(changes: &[String]) -> Result<OciContainerConfig, ChangeError> {
    let mut config = OciContainerConfig::default();
    for change in changes {
        apply(change, &mut config).map_err(|Problem { text, cause }| ChangeError {
            change: change.clone(),
            problem: text,
            cause,
        })?;
    }
    Ok(config)
}

fn apply(change: &str, config: &mut OciContainerConfig) -> Result<(), Problem> {
    let (key, value) = change
        .split_once(' ')
        .or_else(|| change.split_once('='))
        .ok_or("must be formatted as KEY VALUE")?;
    let key = key.trim().to_uppercase();
    let value = value.trim();
    let required = |text: &'static str| if value.is_empty() { Err(text) } else { Ok(value) };
    match key.as_str() {
        "USER" => config.user = Some(required("must provide a value to USER")?.to_owned()),
        "EXPOSE" => {
            config.exposed_ports.get_or_insert_default().insert(port(value)?, Empty {});
        }
        "ENV" => {
            // Without `=` it is a variable without a value.
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            if name.is_empty() {
                return Err("ENV must have at least one argument".into());
            }
            let pair = format!("{}={}", unquoted(name), unquoted(value));
            config.env.get_or_insert_default().push(pair);
        }
        // A text that is no list is for the shell; without one there is no entry point.
        "ENTRYPOINT" => {
            config.entrypoint = Some(
                list(value)
                    .unwrap_or_else(|| if value.is_empty() { Vec::new() } else { shell([value]) }),
            );
        }
        "CMD" => {
            config.cmd = Some(
                list(value).unwrap_or_else(|| shell(Some(value).filter(|value| !value.is_empty()))),
            );
        }
        "VOLUME" => {
            let paths =
                list(value).unwrap_or_else(|| value.split(' ').map(ToOwned::to_owned).collect());
            if paths.is_empty() {
                return Err("must provide at least one argument to VOLUME".into());
            }
            if paths.iter().any(String::is_empty) {
                return Err("VOLUME paths must not be empty".into());
            }
            let volumes: &mut BTreeMap<_, _> = config.volumes.get_or_insert_default();
            volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "WORKDIR" => {
            let path = required("must provide a non-empty WORKDIR")?;
            let directory = config.working_dir.get_or_insert_default();
            *directory = joined(directory, path);
        }
        "LABEL" => {
            let (name, value) = value.split_once('=').ok_or("LABEL must be formatted key=value")?;
            let name = unquoted(name);
            if name.is_empty() {
                return Err("LABEL must have a non-empty key".into());
            }
            let value = unquoted(value).to_owned();
            config.labels.get_or_insert_default().insert(name.to_owned(), value);
        }
        "STOPSIGNAL" => {
            let number = signal::number(value).ok_or_else(|| Problem {
                text: "KILLSIGNAL must be given a valid signal".to_owned(),
                cause: Some(Cause::Signal(value.to_owned())),
            })?;
            config.stop_signal = Some(number.to_string());
        }
        "ONBUILD" => {
            // OCI configs have no place for it.
            required("ONBUILD must be given an argument")?;
        }
        _ => return Err(format!("invalid instruction {key}").as_str().into()),
    }
    Ok(())
}

/// `80` as `80/tcp`.
fn port(value: &str) -> Result<String, Problem> {
    let (port, protocol) = match value.split_once('/') {
        Some((_, protocol)) if protocol.contains('/') => {
            return Err("EXPOSE port must be formatted as PORT[/PROTO]".into());
        }
        Some((port, protocol)) => (port, protocol.to_lowercase()),
        None => (value, "tcp".to_owned()),
    };
    let number: i64 = port.parse().map_err(|error: std::num::ParseIntError| Problem {
        text: format!("EXPOSE port must be an integer: strconv.Atoi: parsing {port:?}"),
        cause: Some(match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => Cause::Range,
            _ => Cause::Syntax,
        }),
    })?;
    if !(1..=65535).contains(&number) {
        return Err("EXPOSE port must be a valid port number".into());
    }
    if !matches!(protocol.as_str(), "tcp" | "udp") {
        return Err("EXPOSE protocol must be TCP or UDP".into());
    }
    Ok(format!("{number}/{protocol}"))
}

/// A JSON list of texts, in which Go takes `null` for nothing. `None` if it is not one.
fn list(value: &str) -> Option<Vec<String>> {
    let list: Option<Vec<Option<String>>> = serde_json::from_str(value).ok()?;
    Some(list.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
}

fn shell<'a>(command: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    ["/bin/sh", "-c"].into_iter().chain(command).map(ToOwned::to_owned).collect()
}

/// Without the quotation marks around it. A lone one is taken for both.
fn unquoted(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('"') else { return text };
    if text.ends_with('"') { inner.strip_suffix('"').unwrap_or(inner) } else { text }
}

/// Two paths in one, cleaned. An absolute `path` is taken as relative, unless it is the first.
fn joined(directory: &str, path: &str) -> String {
    let whole = if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") };
    let root = whole.starts_with('/');
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            // Nothing is above the root.
            ".." if root => {}
            part => parts.push(part),
        }
    }
    match (root, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn changed(changes: &[&str]) -> Result<String, ChangeError> {
        let changes: Vec<_> = changes.iter().map(|&change| change.to_owned()).collect();
        Ok(serde_json::to_string(&container_config(&changes)?).unwrap())
    }

    /// What Podman 4.3 made of the same changes.
    #[test]
    fn configs() {
        for (changes, config) in [
            (&[][..], "{}"),
            (&["USER 1:2", "user=me"], r#"{"User":"me"}"#),
            (
                &["EXPOSE 80", "EXPOSE 53/UDP", "EXPOSE +5", "EXPOSE 80/tcp"],
                r#"{"ExposedPorts":{"5/tcp":{},"53/udp":{},"80/tcp":{}}}"#,
            ),
            (
                &["ENV A=1 2", "ENV B", "ENV \"C\"=\"c d\"", "ENV A=3", "ENV \"", "ENV \"a=b\""],
                r#"{"Env":["A=1 2","B=","C=c d","A=3","=","\"a=b\""]}"#,
            ),
            (&["ENTRYPOINT [\"a\",null]"], r#"{"Entrypoint":["a",""]}"#),
            (&["ENTRYPOINT a b"], r#"{"Entrypoint":["/bin/sh","-c","a b"]}"#),
            (&["ENTRYPOINT a", "ENTRYPOINT "], "{}"),
            (&["CMD [\"/bin/sh\"]"], r#"{"Cmd":["/bin/sh"]}"#),
            (&["CMD ls -l"], r#"{"Cmd":["/bin/sh","-c","ls -l"]}"#),
            (&["CMD "], r#"{"Cmd":["/bin/sh","-c"]}"#),
            (&["CMD null"], "{}"),
            (&["VOLUME /b /a", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
            (&["WORKDIR /w", "WORKDIR x"], r#"{"WorkingDir":"/w/x"}"#),
            (&["WORKDIR a/../b", "WORKDIR /", "WORKDIR x/./y/"], r#"{"WorkingDir":"b/x/y"}"#),
            (&["WORKDIR ..", "WORKDIR ../a"], r#"{"WorkingDir":"../../a"}"#),
            (&["WORKDIR /../.."], r#"{"WorkingDir":"/"}"#),
            (&["WORKDIR a/.."], r#"{"WorkingDir":"."}"#),
            (
                &["LABEL \"a\"=\"b c\"", "label=x=y=z", "LABEL a=2"],
                r#"{"Labels":{"a":"2","x":"y=z"}}"#,
            ),
            (&["STOPSIGNAL SIGINT"], r#"{"StopSignal":"2"}"#),
            (&["ONBUILD RUN x"], "{}"),
        ] {
            assert_eq!(changed(changes).unwrap(), config, "{changes:?}");
        }
    }

    #[test]
    fn words() {
        for (change, problem, cause) in [
            ("CMD", "must be formatted as KEY VALUE", None),
            ("", "must be formatted as KEY VALUE", None),
            ("BOGUS x", "invalid instruction BOGUS", None),
            (" x", "invalid instruction ", None),
            ("USER ", "must provide a value to USER", None),
            ("EXPOSE 1/2/3", "EXPOSE port must be formatted as PORT[/PROTO]", None),
            (
                "EXPOSE abc",
                r#"EXPOSE port must be an integer: strconv.Atoi: parsing "abc""#,
                Some("invalid syntax"),
            ),
            (
                "EXPOSE 99999999999999999999",
                r#"EXPOSE port must be an integer: strconv.Atoi: parsing "99999999999999999999""#,
                Some("value out of range"),
            ),
            ("EXPOSE 0", "EXPOSE port must be a valid port number", None),
            ("EXPOSE 65536/udp", "EXPOSE port must be a valid port number", None),
            ("EXPOSE 1/sctp", "EXPOSE protocol must be TCP or UDP", None),
            ("ENV =x", "ENV must have at least one argument", None),
            ("VOLUME []", "must provide at least one argument to VOLUME", None),
            ("VOLUME ", "VOLUME paths must not be empty", None),
            ("VOLUME a  b", "VOLUME paths must not be empty", None),
            ("WORKDIR ", "must provide a non-empty WORKDIR", None),
            ("LABEL x", "LABEL must be formatted key=value", None),
            ("LABEL \"\"=x", "LABEL must have a non-empty key", None),
            (
                "STOPSIGNAL FOO",
                "KILLSIGNAL must be given a valid signal",
                Some("invalid signal: FOO"),
            ),
            ("ONBUILD ", "ONBUILD must be given an argument", None),
        ] {
            let error = changed(&["USER fine", change]).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid change {change:?} - {problem}"));
            assert_eq!(error.source().map(ToString::to_string).as_deref(), cause, "{change}");
        }
    }
}
