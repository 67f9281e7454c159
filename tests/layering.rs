//! Dependencies point one way. Reads `src/` and names the line that points another.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each module with the modules of this crate that it may use. The first match counts, so that
/// `engine::local` comes before `engine`.
const MODULES: &[(&str, &[&str])] = &[
    ("image", &[]),
    ("sys", &[]),
    ("task", &["sys"]),
    ("layer", &["image", "sys"]),
    ("archive", &["image", "layer"]),
    ("storage", &["image", "layer", "sys"]),
    ("registry", &["image", "sys"]),
    ("container", &["image", "sys"]),
    ("events", &["image", "sys"]),
    (
        "engine::local",
        &[
            "archive",
            "container",
            "engine",
            "events",
            "image",
            "layer",
            "registry",
            "storage",
            "sys",
            "task",
        ],
    ),
    // Of `events` only what an event is.
    ("engine", &["events", "image"]),
    ("api", &["engine", "image"]),
    ("server", &[]),
    ("config", &["image"]),
    ("cli", &["config", "storage", "sys"]),
    ("lib", &[]),
    (
        "main",
        &[
            "api",
            "cli",
            "config",
            "container",
            "engine",
            "events",
            "registry",
            "server",
            "storage",
            "sys",
            "task",
        ],
    ),
];

/// Crates (or words) with the only modules that may use them.
const CRATES: &[(&str, &[&str])] = &[
    ("axum", &["api", "server"]),
    ("hyper", &["registry::policy", "server"]),
    ("hyper_util", &["registry::policy", "server"]),
    ("utoipa", &["api"]),
    ("listenfd", &["server"]),
    ("sd_notify", &["server"]),
    ("reqwest", &["registry"]),
    ("rustls", &["registry"]),
    ("tokio", &["api", "server", "engine::local", "registry", "task", "main"]),
    ("tokio_util", &["server", "engine::local", "task", "main"]),
    ("clap", &["config"]),
    ("toml", &["config"]),
    ("tar", &["archive", "layer"]),
    ("rusqlite", &["container"]),
    ("landlock", &["sys"]),
    ("libc", &["sys"]),
    ("isal_sys", &["sys"]),
    ("unsafe", &["sys"]),
];

#[test]
fn dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 10, "no sources found");
    let mut report = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let relative = file.strip_prefix(root).unwrap();
        for (line, problem) in problems(relative, &text) {
            writeln!(report, "{}:{line}: {problem}", relative.display()).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `src/api/libpod/mod.rs` is `["api", "libpod"]`.
fn module_path(file: &Path) -> Vec<&str> {
    let mut path: Vec<_> = file.iter().skip(1).map(|part| part.to_str().unwrap()).collect();
    let last = path.pop().unwrap().strip_suffix(".rs").unwrap();
    if last != "mod" {
        path.push(last);
    }
    path
}

fn problems(file: &Path, text: &str) -> Vec<(usize, String)> {
    let path = module_path(file);
    let name = path.join("::");
    let within = |module: &str| name == module || name.starts_with(&format!("{module}::"));
    let Some((own, allowed)) = MODULES.iter().find(|(module, _)| within(module)) else {
        return vec![(1, format!("module {name} has no place in the layers; add it to MODULES"))];
    };
    let own_root = own.split("::").next().unwrap();
    let code = without_comments(text);
    let mut problems = Vec::new();
    // The crate is called `imaged` from the program and from documentation examples.
    let to_root = ["crate::".to_owned(), "imaged::".to_owned(), "super::".repeat(path.len())];
    for prefix in &to_root {
        for (at, _) in code.match_indices(prefix.as_str()) {
            if preceded_by_path(&code, at) {
                continue;
            }
            for target in targets(&code[at + prefix.len()..]) {
                let known = MODULES.iter().any(|(module, _)| *module == target);
                if known && target != own_root && !allowed.contains(&target) {
                    let text = format!("{own} may not use {target}");
                    problems.push((line_of(&code, at), text));
                }
            }
        }
    }
    for (krate, users) in CRATES {
        for (at, _) in code.match_indices(krate) {
            let used = if *krate == "unsafe" {
                is_word(&code, at, krate)
            } else {
                is_crate(&code, at, krate)
            };
            if used && !users.iter().any(|user| within(user)) {
                problems.push((line_of(&code, at), format!("{own} may not use {krate}")));
            }
        }
    }
    problems
}

/// The first segments of what follows a path to the crate's root: one, or those in braces.
fn targets(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let mut depth = 0;
    let mut found = Vec::new();
    let mut start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                found.push(identifier(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    found
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn is_word(code: &str, at: usize, word: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || c == '_';
    !code[..at].ends_with(continues) && !code[at + word.len()..].starts_with(continues)
}

/// `krate::` or `use krate;`, at the beginning of a path.
fn is_crate(code: &str, at: usize, krate: &str) -> bool {
    let after = &code[at + krate.len()..];
    is_word(code, at, krate)
        && !preceded_by_path(code, at)
        && (after.starts_with("::") || (after.starts_with(';') && code[..at].ends_with("use ")))
}

fn preceded_by_path(code: &str, at: usize) -> bool {
    code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'))
}

/// The text with line comments blanked, and quoted text too, so that words in them do not count.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.split("//").next().unwrap_or_default();
            let mut pieces = line.split('"');
            let mut code = pieces.next().unwrap_or_default().to_owned();
            for (index, piece) in pieces.enumerate() {
                code.push('"');
                if index % 2 == 1 {
                    code.push_str(piece);
                }
            }
            code.push('\n');
            code
        })
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn violations_are_found() {
    for (file, code, expected) in [
        (
            "src/api/error.rs",
            "use crate::engine;\n\nuse crate::storage::Store;",
            Some("3: api may not use storage"),
        ),
        (
            "src/api/libpod/exists.rs",
            "use crate::{\n  engine::{self, Error},\n  sys,\n};",
            Some("1: api may not use sys"),
        ),
        (
            "src/api/libpod/exists.rs",
            "use super::super::super::layer;",
            Some("1: api may not use layer"),
        ),
        ("src/api/libpod/exists.rs", "use super::super::layer;", None),
        (
            "src/storage/store.rs",
            "fn f() { tokio::spawn(x) }",
            Some("1: storage may not use tokio"),
        ),
        ("src/storage/store.rs", "// tokio::spawn\nlet a = \"tokio::spawn\"; my_tokio::x();", None),
        ("src/engine/mod.rs", "use crate::layer;", Some("1: engine may not use layer")),
        ("src/engine/local/mod.rs", "use crate::layer;", None),
        ("src/engine/local/mod.rs", "use axum::Router;", Some("1: engine::local may not use axum")),
        ("src/image/mod.rs", "unsafe { x() }", Some("1: image may not use unsafe")),
        ("src/lib.rs", "#![deny(unsafe_code)]", None),
        ("src/sys/mod.rs", "unsafe { libc::x() }", None),
        ("src/main.rs", "use imaged::{config, layer};", Some("1: main may not use layer")),
        ("src/server/mod.rs", "crate::api::router()", Some("1: server may not use api")),
        (
            "src/stuff/mod.rs",
            "",
            Some("1: module stuff has no place in the layers; add it to MODULES"),
        ),
    ] {
        let found = problems(Path::new(file), code);
        let found = found.first().map(|(line, text)| format!("{line}: {text}"));
        assert_eq!(found.as_deref(), expected, "{file}: {code}");
    }
}
