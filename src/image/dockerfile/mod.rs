//! Instructions of Dockerfiles that change a config: the `changes` of a commit.
//!
//! The grammar is that of the builder behind Podman, and so are the words about what does not fit:
//! clients show them. Nothing is built: instructions that would are refused.

mod apply;
mod lines;
mod words;

pub(crate) use apply::set_variable;

use super::docker_document::DockerConfig;

/// Why changes cannot be made. `Display` is the text up to the cause, which is the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{context}")]
pub struct InstructionError {
    context: String,
    #[source]
    cause: Cause,
}

/// What Podman wraps in an [`InstructionError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

/// Applies changes to a config, in this order.
///
/// Each is split into lines; where a `=` comes before any white space it stands for a space.
///
/// # Errors
/// The first line that is no instruction, else the first instruction that cannot be followed. The
/// config is of no use then.
pub(crate) fn apply(changes: &[String], config: &mut DockerConfig) -> Result<(), InstructionError> {
    let lines: Vec<String> = changes
        .iter()
        .flat_map(|change| change.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(with_space)
        .collect();
    let error = |context: String| move |cause| InstructionError { context, cause: Cause(cause) };
    let instructions =
        lines::parse(&lines).map_err(error(format!("parsing change set {}", lines.join("\n"))))?;
    let mut state = apply::State::new(config);
    for instruction in &instructions {
        let quoted = format!("{:?}", instruction.original);
        let words = instruction.resolve().map_err(error(format!("resolving change {quoted}")))?;
        state.follow(instruction, &words).map_err(error(format!("processing change {quoted}")))?;
    }
    Ok(())
}

/// `CMD=ls` as `CMD ls`.
fn with_space(line: &str) -> String {
    match line.find(|c: char| c == '=' || c.is_whitespace()) {
        Some(at) if line[at..].starts_with('=') => format!("{} {}", &line[..at], &line[at + 1..]),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
