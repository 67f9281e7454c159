//! Lines to instructions.

use super::words;

/// An instruction with its arguments, before what is in quotation marks is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its name in lower case.
    pub(super) name: String,
    /// The whole line.
    pub(super) original: String,
    /// Options: words in front of the arguments that begin with `--`.
    pub(super) flags: Vec<String>,
    pub(super) arguments: Vec<String>,
    /// The arguments were a JSON list.
    pub(super) json: bool,
}

/// White space between words, for the builder.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Instructions of lines that are already trimmed.
pub(super) fn parse(lines: &[String]) -> Result<Vec<Instruction>, String> {
    let mut instructions = Vec::new();
    let mut whole = String::new();
    let mut continued = false;
    for line in lines {
        if line.starts_with('#') {
            continue;
        }
        // A backslash at its end joins a line with the next one.
        let shortened = line.trim_end_matches([' ', '\t']).strip_suffix('\\');
        whole.push_str(shortened.unwrap_or(line));
        continued = shortened.is_some();
        if !continued {
            instructions.push(instruction(&std::mem::take(&mut whole))?);
        }
    }
    if continued {
        instructions.push(instruction(&whole)?);
    }
    Ok(instructions)
}

fn instruction(line: &str) -> Result<Instruction, String> {
    let trimmed = line.trim();
    let (name, rest) = trimmed.split_once(is_blank).unwrap_or((trimmed, ""));
    let (flags, rest) = flags(rest.trim_start_matches(is_blank));
    let (arguments, json) = arguments(&name.to_lowercase(), rest.trim())?;
    Ok(Instruction { name: name.to_lowercase(), original: line.to_owned(), flags, arguments, json })
}

/// Options in front, and the rest.
fn flags(mut rest: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, behind) = words::first_unquoted(rest);
        rest = behind;
        // Two dashes alone end the options.
        if word == "--" {
            return (flags, rest);
        }
        flags.push(word);
    }
}

fn arguments(name: &str, rest: &str) -> Result<(Vec<String>, bool), String> {
    let plain = |arguments: Vec<String>| Ok((arguments, false));
    let whole = |rest: &str| Some(rest.to_owned()).filter(|rest| !rest.is_empty());
    let blank_separated = |rest: &str| -> Vec<String> {
        rest.split(is_blank).filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
    };
    match name {
        "env" => plain(pairs(rest, "ENV")?),
        "label" => plain(pairs(rest, "LABEL")?),
        "cmd" | "entrypoint" | "run" | "shell" => match json_list(rest)? {
            Some(list) => Ok((list, true)),
            None => plain(whole(rest).into_iter().collect()),
        },
        "add" | "copy" | "volume" => match json_list(rest)? {
            Some(list) => Ok((list, true)),
            None => plain(blank_separated(rest)),
        },
        "expose" | "from" => plain(blank_separated(rest)),
        "user" | "workdir" | "stopsignal" | "maintainer" => {
            plain(whole(rest).into_iter().collect())
        }
        "arg" => plain(words::split(rest)),
        "healthcheck" => {
            let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let rest = rest.trim_start();
            let kind = whole(kind);
            match json_list(rest)? {
                Some(list) => Ok((kind.into_iter().chain(list).collect(), true)),
                None => plain(kind.into_iter().chain(whole(rest)).collect()),
            }
        }
        "onbuild" if rest.is_empty() => plain(Vec::new()),
        // What it is to do must be an instruction, too.
        "onbuild" => {
            let inner = instruction(rest)?;
            plain(std::iter::once(inner.name).chain(inner.arguments).collect())
        }
        _ => plain(Vec::new()),
    }
}

/// `None` if it is no JSON list. What is behind the list is not looked at.
fn json_list(rest: &str) -> Result<Option<Vec<String>>, String> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<serde_json::Value>>();
    let Some(Ok(values)) = values.next() else { return Ok(None) };
    let texts = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => {
            let text = "when using JSON array syntax, arrays must be comprised of strings only";
            Err(text.to_owned())
        }
    });
    texts.collect::<Result<_, _>>().map(Some)
}

/// `a=1 b=2`, or `a 1 2`; names and values in turn.
fn pairs(rest: &str, name: &str) -> Result<Vec<String>, String> {
    let words = words::split(rest);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let (key, value) =
            rest.split_once(is_blank).ok_or_else(|| format!("{name} must have two arguments"))?;
        return Ok(vec![key.to_owned(), value.trim_start_matches(is_blank).to_owned()]);
    }
    let mut pairs = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")
        })?;
        pairs.extend([key.to_owned(), value.to_owned()]);
    }
    Ok(pairs)
}

impl Instruction {
    /// The arguments without quotation marks, variables replaced.
    pub(super) fn resolve(&self) -> Result<Vec<String>, String> {
        match self.name.as_str() {
            "env" | "label" | "add" | "copy" | "workdir" | "volume" | "user" | "stopsignal"
            | "arg" => self.arguments.iter().map(|word| words::unquoted(word)).collect(),
            // One word can become several here, or none.
            "expose" => {
                let mut all = Vec::new();
                for word in &self.arguments {
                    all.extend(words::unquoted_words(word)?);
                }
                Ok(all)
            }
            "onbuild" if self.arguments.is_empty() => {
                Err("ONBUILD requires at least one argument".to_owned())
            }
            _ => Ok(self.arguments.clone()),
        }
    }
}
