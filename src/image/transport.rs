//! Names of the form `transport:reference`, as the tools know them.

use super::Reference;

/// The transport of a name that is of this form, and what follows it. `None` if it is not, or if what
/// follows means nothing to the transport.
pub fn transport(name: &str) -> Option<(&str, &str)> {
    let (transport, rest) = name.split_once(':')?;
    let fits = match transport {
        "docker" => rest
            .strip_prefix("//")
            .is_some_and(|rest| Reference::normalize_docker(rest).is_ok_and(|it| !it.is_doubled())),
        "docker-daemon" => Reference::normalize_docker(rest)
            .is_ok_and(|reference| reference.tag().is_some() || reference.digest().is_some()),
        "containers-storage" => is_stored_name(rest),
        "dir" | "docker-archive" | "oci" | "oci-archive" | "ostree" | "sif" | "tarball" => {
            !rest.is_empty()
        }
        _ => false,
    };
    fits.then_some((transport, rest))
}

/// Whether images of a store can be called so: by a name, by an ID, or by both.
pub fn is_stored_name(name: &str) -> bool {
    // Stores that are named in front are other ones.
    let name = match name.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(_, name)| name),
        None => name,
    };
    let is_id = |id: &str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let named = match name.rsplit_once('@') {
        Some((named, id)) if is_id(id) => named,
        _ if is_id(name) => return true,
        _ => name,
    };
    named.is_empty() && name.len() > 1 || Reference::normalize_docker(named).is_ok()
}

/// What a registry's image is called by `name`, which may have the transport `docker` in front, or
/// none. The tag is `latest` if there is neither tag nor digest.
///
/// # Errors
/// In the words of the tools.
pub fn registry_reference(name: &str) -> Result<Reference, String> {
    let parse = |text: &str| {
        let reference = Reference::normalize_docker(text).map_err(|error| error.to_string())?;
        if reference.is_doubled() {
            let text = "Docker references with both a tag and digest are currently not supported";
            return Err(text.to_owned());
        }
        Ok(reference.tagged())
    };
    match name.split_once(':') {
        Some(("docker", rest)) if rest.starts_with("//") => parse(&rest[2..]),
        found => parse(name).map_err(|_| match found {
            None => {
                format!("Invalid image name {name:?}, expected colon-separated transport:reference")
            }
            Some((transport, _)) => {
                format!("Invalid image name {name:?}, unknown transport {transport:?}")
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports() {
        for (name, expected) in [
            ("docker://x", Some("docker")),
            ("docker://UPPER", None),
            ("docker:x", None),
            ("docker-archive:/x.tar", Some("docker-archive")),
            ("docker-archive:", None),
            ("dir:/x", Some("dir")),
            ("containers-storage:x", Some("containers-storage")),
            ("containers-storage:UPPER", None),
            ("docker-daemon:x", None),
            ("docker-daemon:x:1", Some("docker-daemon")),
            ("localhost:5000/x", None),
            ("x:1", None),
            ("x", None),
        ] {
            assert_eq!(transport(name).map(|(transport, _)| transport), expected, "{name}");
        }
    }

    #[test]
    fn stored_names() {
        let id = "a".repeat(64);
        for (name, expected) in [
            ("x", true),
            ("localhost/x:1", true),
            (&*id, true),
            (&*format!("sha256:{id}"), true),
            (&*format!("@{id}"), true),
            (&*format!("x@{id}"), true),
            (&*format!("x@sha256:{id}"), true),
            ("[overlay@/a+/b]x", true),
            ("UPPER", false),
            ("", false),
            ("@", false),
        ] {
            assert_eq!(is_stored_name(name), expected, "{name}");
        }
    }

    #[test]
    fn registry_references() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("x", Ok("docker.io/library/x:latest")),
            ("localhost/x:1", Ok("localhost/x:1")),
            ("docker://127.0.0.1:5000/a/b", Ok("127.0.0.1:5000/a/b:latest")),
            (
                "UPPER/x",
                Err("Invalid image name \"UPPER/x\", expected colon-separated transport:reference"),
            ),
            ("UPPER/x:1", Err("Invalid image name \"UPPER/x:1\", unknown transport \"UPPER/x\"")),
            ("docker://UPPER", Err("invalid reference format: repository name must be lowercase")),
        ] {
            let found = registry_reference(name).map(|reference| reference.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{name}");
        }
        assert!(registry_reference(&format!("x:1@{digest}")).is_err());
        let by_digest = registry_reference(&format!("q.io/x@{digest}")).unwrap();
        assert_eq!(by_digest.to_string(), format!("q.io/x@{digest}"));
    }
}
