//! `api-spec/imaged.yaml` is the description of the API that the handlers carry.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

#[test]
fn the_exported_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("api-spec/imaged.yaml");
    let current = imaged::api::openapi().to_yaml().unwrap();
    if std::env::var_os("UPDATE_API_SPEC").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let exported = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        exported == current,
        "{} differs from the code; UPDATE_API_SPEC=1 cargo test --test openapi writes it",
        path.display()
    );
}

#[test]
fn every_operation_says_what_can_go_wrong() {
    let description = serde_json::to_value(imaged::api::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 31);
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(operation["operationId"].is_string(), "{place}");
            assert!(operation["summary"].is_string(), "{place}");
            if path.ends_with("_ping") {
                continue;
            }
            let responses = operation["responses"].as_object().unwrap();
            let failures: Vec<_> = responses.iter().filter(|(s, _)| s.as_str() >= "400").collect();
            assert!(failures.len() > 2, "{place} has more ways to fail than all have");
            for (status, response) in failures {
                let response = match response["$ref"].as_str() {
                    Some(reference) => description.pointer(&reference[1..]).unwrap(),
                    None => response,
                };
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                // A failed login is told in Docker's form.
                let docker = (place.as_str(), status.as_str()) == ("post /auth", "500");
                let body = if docker { "Message" } else { "ErrorBody" };
                assert_eq!(schema, &format!("#/components/schemas/{body}"), "{place} {status}");
            }
        }
    }
}
