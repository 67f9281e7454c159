//! What instructions make of a config.

use super::super::docker_document::{DockerConfig, DockerHealthcheck};
use super::super::document::Empty;
use super::super::signal;
use super::lines::Instruction;

/// A config that is being changed.
pub(super) struct State<'a> {
    config: &'a mut DockerConfig,
    /// A command was given, and is kept when an entry point follows.
    has_command: bool,
}

impl<'a> State<'a> {
    pub(super) fn new(config: &'a mut DockerConfig) -> Self {
        Self { config, has_command: false }
    }

    /// Follows an instruction whose arguments are resolved to `words`.
    pub(super) fn follow(
        &mut self,
        instruction: &Instruction,
        words: &[String],
    ) -> Result<(), String> {
        let name = instruction.name.to_uppercase();
        let one = || match words {
            [word] => Ok(word.clone()),
            _ => Err(format!("{name} requires exactly one argument")),
        };
        let some = || match words {
            [] => Err(format!("{name} requires at least one argument")),
            words => Ok(words),
        };
        let config = &mut *self.config;
        match name.as_str() {
            "CMD" => {
                config.cmd = Some(if instruction.json { words.to_vec() } else { shell(words) });
                self.has_command |= !words.is_empty();
            }
            "ENTRYPOINT" => {
                config.entrypoint = match words {
                    words if instruction.json => Some(words.to_vec()),
                    [] => None,
                    words => Some(shell(words)),
                };
                if !self.has_command {
                    config.cmd = None;
                }
            }
            "ENV" => {
                for (key, value) in pairs(some()?) {
                    set_variable(config.env.get_or_insert_default(), format!("{key}={value}"));
                }
            }
            "LABEL" => {
                let labels = config.labels.get_or_insert_default();
                labels.extend(pairs(some()?));
            }
            "EXPOSE" => {
                let ports = some()?.iter().map(|port| {
                    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                    let protocol = protocol.split('/').next().unwrap_or_default();
                    (format!("{number}/{protocol}"), Empty {})
                });
                config.exposed_ports.extend(ports);
            }
            "VOLUME" => {
                let volumes = config.volumes.get_or_insert_default();
                for path in some()?.iter().map(|path| path.trim()) {
                    if path.is_empty() {
                        return Err("Volume specified can not be an empty string".to_owned());
                    }
                    volumes.insert(path.to_owned(), Empty {});
                }
            }
            "USER" => config.user = one()?,
            "WORKDIR" => config.working_dir = directory(&config.working_dir, &one()?),
            "STOPSIGNAL" => {
                let signal = one()?;
                if signal::number(&signal).is_none() {
                    return Err(format!("Invalid signal: {signal}"));
                }
                config.stop_signal = signal;
            }
            "HEALTHCHECK" => config.healthcheck = Some(healthcheck(instruction, some()?)?),
            "ONBUILD" => {
                let trigger = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
                match trigger.as_str() {
                    "ONBUILD" => {
                        return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into());
                    }
                    "MAINTAINER" | "FROM" => {
                        return Err(format!("{trigger} isn't allowed as an ONBUILD trigger"));
                    }
                    _ => {}
                }
                let original = instruction.original.trim();
                let text = original.get("ONBUILD".len()..).unwrap_or_default().trim_start();
                config.on_build.get_or_insert_default().push(text.to_owned());
            }
            "SHELL" if words.is_empty() => drop(some()?),
            "SHELL" if instruction.json => config.shell = Some(words.to_vec()),
            "SHELL" => {
                return Err(format!("{name} requires the arguments to be in JSON form"));
            }
            "MAINTAINER" => drop(one()?),
            "ARG" => {}
            "FROM" => match words {
                [_] => {}
                [_, word, name] if word.eq_ignore_ascii_case("as") && !name.is_empty() => {}
                _ => {
                    let text =
                        "FROM requires either one argument, or three: FROM <source> [AS <name>]";
                    return Err(text.to_owned());
                }
            },
            "RUN" => {
                return Err("Please provide a source image with `from` prior to run".to_owned());
            }
            "ADD" | "COPY" if words.len() < 2 => {
                return Err(format!("{name} requires at least two arguments"));
            }
            "ADD" | "COPY" => return Err("ADD/COPY not supported as changes".to_owned()),
            _ => {
                let original = &instruction.original;
                return Err(format!("did not understand change instruction {original:?}"));
            }
        }
        Ok(())
    }
}

/// Sets `KEY=value` where the variable is, or at the end.
pub(crate) fn set_variable(env: &mut Vec<String>, pair: String) {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    match env.iter_mut().find(|known| key(known) == key(&pair)) {
        Some(known) => *known = pair,
        None => env.push(pair),
    }
}

fn pairs(words: &[String]) -> impl Iterator<Item = (String, String)> {
    words.chunks_exact(2).filter_map(|pair| match pair {
        [key, value] => Some((key.clone(), value.clone())),
        _ => None,
    })
}

fn shell(words: &[String]) -> Vec<String> {
    let shell = ["/bin/sh", "-c"].map(ToOwned::to_owned);
    shell.into_iter().chain(words.iter().cloned()).collect()
}

/// A working directory, from `current` or else the root.
fn directory(current: &str, path: &str) -> String {
    if path.starts_with('/') {
        // Only cleaned as far as the builder does.
        return match path.strip_suffix('/') {
            Some("") | None => path.to_owned(),
            Some(path) => path.to_owned(),
        };
    }
    let whole = format!("/{current}/{path}");
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn healthcheck(instruction: &Instruction, words: &[String]) -> Result<DockerHealthcheck, String> {
    let Some((kind, words)) = words.split_first() else { return Ok(Default::default()) };
    match kind.to_uppercase().as_str() {
        "NONE" if words.is_empty() => {
            return Ok(DockerHealthcheck { test: vec!["NONE".into()], ..Default::default() });
        }
        "NONE" => return Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" if words.is_empty() => {
            return Err("Missing command after HEALTHCHECK CMD".to_owned());
        }
        "CMD" => {}
        _ => {
            let kind = kind.to_uppercase();
            return Err(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"));
        }
    }
    let kind = if instruction.json { "CMD" } else { "CMD-SHELL" };
    let test = std::iter::once(kind.to_owned()).chain(words.iter().cloned()).collect();
    let mut check = DockerHealthcheck { test, ..DockerHealthcheck::default() };
    for flag in &instruction.flags {
        let bare = flag.trim_start_matches('-');
        let (name, value) = bare.split_once('=').unwrap_or((bare, ""));
        let interval = || match value {
            "" => Ok(0),
            value => match nanoseconds(value) {
                None => Err(format!("time: invalid duration {value:?}")),
                Some(time) if time <= 0 => Err(format!("Interval {name:?} must be positive")),
                Some(time) => Ok(time),
            },
        };
        match name {
            "start-period" => check.start_period = interval()?,
            "start-interval" => check.start_interval = interval()?,
            "interval" => check.interval = interval()?,
            "timeout" => check.timeout = interval()?,
            "retries" => match value.parse::<i32>() {
                Ok(retries) if retries < 1 => {
                    return Err(format!("--retries must be at least 1 (not {retries})"));
                }
                Ok(retries) => check.retries = retries.into(),
                Err(_) => {
                    return Err(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"));
                }
            },
            name => return Err(format!("flag provided but not defined: -{name}")),
        }
    }
    Ok(check)
}

/// A duration in Go's form, such as `1m30s`.
fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total += number * factor;
    }
    let total = sign * total;
    // Some 292 years, as in Go.
    (text.len() > 1 && total.abs() < 9.2e18).then(|| {
        #[expect(clippy::cast_possible_truncation, reason = "just looked at")]
        let total = total as i64;
        total
    })
}
