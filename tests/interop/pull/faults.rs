//! Registries that lie, and what is too much.

use serde_json::json;

use super::{pull, refused, start};
use crate::support::archive::sha256;
use crate::support::check::assert_sound;
use crate::support::faulty::Door;
use crate::support::{Fault, Faulty, Layer, OciArchive, Store};

fn image() -> OciArchive {
    OciArchive::new("image:1", &[Layer::random(1, "a", 20, 20_000), Layer::files(&[("b", b"b")])])
}

#[test]
fn lies_are_found_out() {
    let image = image();
    let blob = image.layer_blob(0).to_owned();
    type Lie<'a> = (&'a str, Box<dyn Fn(&Faulty)>, &'a str);
    let put = |registry: &Faulty| {
        registry.put("app", "1", &image);
    };
    let edited = |edit: fn(&mut serde_json::Value)| {
        let image = image.clone();
        move |registry: &Faulty| {
            registry.put_edited("app", "1", &image, edit);
        }
    };
    let failing = |part: &'static str, fault: Fault| {
        let (image, blob) = (image.clone(), blob.clone());
        move |registry: &Faulty| {
            registry.put("app", "1", &image);
            let part = if part == "layer" { &blob } else { part };
            registry.fail("GET", part, usize::MAX, fault.clone());
        }
    };
    let lies: Vec<Lie<'_>> = vec![
        ("a bit of a layer", Box::new(failing("layer", Fault::Flip)), "blob"),
        ("another layer", Box::new(failing("layer", Fault::Body(b"x".to_vec()))), "blob"),
        (
            "more than the manifest says",
            Box::new(edited(|manifest| manifest["layers"][0]["size"] = json!(100))),
            "has more than the 100 bytes of its manifest",
        ),
        (
            "less than the manifest says",
            Box::new(edited(|manifest| {
                let size = manifest["layers"][0]["size"].as_u64().unwrap();
                manifest["layers"][0]["size"] = json!(size + 1);
            })),
            "unexpected EOF",
        ),
        (
            "no size",
            Box::new(edited(|manifest| manifest["layers"][0]["size"] = json!(-1))),
            "manifest",
        ),
        (
            "a layer too few",
            Box::new(edited(|manifest| {
                manifest["layers"].as_array_mut().unwrap().pop();
            })),
            "the manifest has 1 layers, the config 2",
        ),
        (
            "layers in another order",
            Box::new(edited(|manifest| manifest["layers"].as_array_mut().unwrap().reverse())),
            "as the config says",
        ),
        (
            "a digest that is a path",
            Box::new(edited(|manifest| manifest["config"]["digest"] = json!("sha256:../../../x"))),
            "manifest",
        ),
        (
            "a config of another digest",
            Box::new(edited(|manifest| {
                let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
                let first = if config.ends_with('0') { "1" } else { "0" };
                manifest["config"]["digest"] =
                    json!(format!("{}{first}", &config[..config.len() - 1]));
            })),
            "blob unknown",
        ),
        (
            "a config that is too long",
            Box::new(edited(|manifest| manifest["config"]["size"] = json!(5 << 20))),
            "are more than the limit of",
        ),
        (
            "a manifest without an end",
            Box::new(failing("/manifests/", Fault::Padded(5 << 20))),
            "the answer has more than 4194304 bytes",
        ),
        ("no manifest", Box::new(failing("/manifests/", Fault::Body(b"{".to_vec()))), "manifest"),
        (
            "a config that is none",
            Box::new(|registry: &Faulty| {
                let config = registry.put_blob("app", b"[]");
                let manifest = json!({
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
                    "layers": [],
                });
                registry.put_manifest("app", "1", manifest.to_string().as_bytes());
            }),
            "parsing image configuration",
        ),
    ];
    let store = Store::new();
    let server = start(&store, "");
    for (lie, prepare, words) in lies {
        eprintln!("{lie}");
        let registry = Faulty::start();
        prepare(&registry);
        let name = format!("{}/app:1", registry.host());
        let (status, message) = refused(&server, &name, "retry=1&retrydelay=1ms");
        assert!((400..=500).contains(&status), "{lie}: {status} {message}");
        assert!(message.contains(words), "{lie}: {message}");
        assert_eq!(store.image_ids(), Vec::<String>::new(), "{lie}");
        assert!(store.records("overlay-layers/layers.json").is_empty(), "{lie}");
        assert_sound(&store);
        // The same image, told as it is, is not hurt by what was kept of the lie.
        registry.behave();
        put(&registry);
        assert_eq!(pull(&server, &name), image.image_id(), "{lie}");
        server.client().delete("/images/remove?all=true").expect(200);
    }
}

#[test]
fn a_manifest_of_a_digest_has_it() {
    let registry = Faulty::start();
    let image = image();
    let digest = registry.put("app", "1", &image);
    let other = OciArchive::new("image:2", &[Layer::files(&[("c", b"c")])]);
    let manifest = other.blobs().last().unwrap().1.clone();
    registry.put("app", "2", &other);
    registry.fail("GET", &digest, usize::MAX, Fault::Body(manifest.clone()));
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{}/app@{digest}", registry.host());
    let (status, message) = refused(&server, &name, "");
    assert_eq!(status, 500);
    let found = sha256(&manifest);
    assert!(
        message.contains(&format!("manifest has digest {found} instead of {digest}")),
        "{message}"
    );
    assert!(store.image_ids().is_empty());
}

/// Lists that list each other have no image.
#[test]
fn lists_without_an_end() {
    let registry = Faulty::start();
    let list = |entries: &[&str]| {
        let entries: Vec<_> = entries
            .iter()
            .map(|digest| {
                json!({
                    "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest,
                    "size": 1, "platform": {"architecture": "amd64", "os": "linux"},
                })
            })
            .collect();
        let document = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        });
        document.to_string().into_bytes()
    };
    let mut digest = registry.put_manifest("app", "0", &list(&[]));
    for level in 1..10 {
        digest = registry.put_manifest("app", &level.to_string(), &list(&[&digest]));
    }
    let store = Store::new();
    let server = start(&store, "");
    let refused = |tag: &str| refused(&server, &format!("{}/app:{tag}", registry.host()), "").1;
    assert!(refused("9").contains("indexes are nested too deeply"));
    assert!(refused("1").contains("no image found in image index"));
}

/// Only the registry is told who asks, and a token that is over is renewed.
#[test]
fn logins_are_for_the_registry_only() {
    for door in [Door::Password, Door::Token] {
        let (registry, other) = (Faulty::behind(door), Faulty::start());
        let image = image();
        registry.put("app", "1", &image);
        other.put("app", "1", &image);
        let to = format!("http://{}", other.host());
        registry.fail("GET", image.layer_blob(0), 1, Fault::Redirect(to));
        if door == Door::Token {
            registry.fail("GET", image.layer_blob(1), 1, Fault::Status(401, format!(
                "WWW-Authenticate: Bearer realm=\"http://{0}/token\",service=\"{0}\",scope=\"repository:app:pull\"\r\n",
                registry.host()
            )));
        }
        let store = Store::new();
        let server = start(&store, "");
        use base64::Engine as _;
        let login = format!(
            r#"{{"username":"{}","password":"{}"}}"#,
            crate::support::registry::USER,
            crate::support::registry::PASSWORD
        );
        let login = base64::engine::general_purpose::URL_SAFE.encode(login);
        let path = format!(
            "/v5.0.0/libpod/images/pull?reference={}/app:1&tlsVerify=false&quiet=true",
            registry.host()
        );
        let answer = server
            .client()
            .send("POST", &path, &[("X-Registry-Auth", &login)], Default::default())
            .unwrap();
        answer.expect(200);
        let redirected = other.asked("GET", image.layer_blob(0));
        assert_eq!(redirected.len(), 1);
        assert_eq!(redirected[0].authorization, None, "{door:?}");
        let own = registry.asked("GET", "/blobs/");
        assert!(own.iter().any(|it| it.authorization.is_some()), "{door:?}");
        assert_sound(&store);
    }
}
