//! The crate podman-rest-client, which is made from the description of Podman 5's API.
//!
//! Left out are its calls for load and import, which send a JSON text, and history, which expects an
//! object: no server has these.

use std::fmt::Debug;

use futures_util::TryStreamExt;
use podman_rest_client::v5::apis::SystemCompat;
use podman_rest_client::v5::models::AuthConfig;
use podman_rest_client::v5::params;
use podman_rest_client::{Config, PodmanRestClient};

use crate::{BASE, Expected, ONE, OTHER, TWO, set};

pub(crate) async fn all(socket: &str, expected: &Expected) {
    let uri = format!("unix://{socket}");
    let client = PodmanRestClient::new(Config { uri, identity_file: None }).await.unwrap();
    service(&client, expected).await;
    look(&client, expected).await;
    change(&client, expected).await;
    registry(&client, expected).await;
    remove(&client, expected).await;
}

async fn service(client: &PodmanRestClient, expected: &Expected) {
    assert_eq!(client.system_ping().await.unwrap(), "OK");
    let version = client.v5().system().system_version_libpod().await.unwrap();
    assert_eq!(version.version.as_deref(), Some("6.0.0"));
    let info = client.v5().system().system_info_libpod().await.unwrap();
    assert_eq!(info.store.unwrap().graph_root.as_ref(), Some(&expected.store));
    let usage = client.v5().system().system_data_usage_libpod().await.unwrap();
    assert_eq!(usage.images.unwrap().len(), 4);
    assert!(usage.images_size > Some(0));
}

async fn names(client: &PodmanRestClient, filters: Option<&str>) -> Vec<String> {
    let query = params::ImageListLibpod { all: Some(true), filters };
    let images = client.v5().images().image_list_libpod(Some(query)).await.unwrap();
    let mut names: Vec<_> =
        images.into_iter().flat_map(|it| it.names.unwrap_or_default()).collect();
    names.sort();
    names
}

async fn look(client: &PodmanRestClient, expected: &Expected) {
    let images = client.v5().images();
    assert_eq!(names(client, None).await, [BASE, ONE, TWO, OTHER]);
    assert_eq!(names(client, Some(r#"{"reference":["one"]}"#)).await, [ONE]);
    fails(images.image_exists_libpod("nobody").await, 404, "nobody");
    images.image_exists_libpod(TWO).await.unwrap();
    let image = images.image_inspect_libpod(TWO).await.unwrap();
    assert_eq!(image.id.as_ref(), Some(&expected.two));
    assert_eq!(image.root_fs.unwrap().layers.as_ref(), Some(&expected.diff_ids));
    assert_eq!(image.graph_driver.unwrap().name.as_deref(), Some("overlay"));
    let query = params::ImageTreeLibpod { whatrequires: Some(true) };
    let tree = images.image_tree_libpod(ONE, Some(query)).await.unwrap().tree.unwrap();
    assert!(tree.contains(TWO), "{tree}");
    let query = params::ImageChangesLibpod { parent: None, diff_type: Some("image") };
    let changes = images.image_changes_libpod("two:1", Some(query)).await.unwrap();
    assert!(changes.contains(r#"{"Path":"/etc/issue","Kind":1}"#), "{changes}");
    // An empty answer to the crate.
    images.image_resolve_libpod("quay.io/example/app").await.unwrap();
    fails(images.image_resolve_libpod("UPPER").await, 400, "repository name must be lowercase");
    fails(images.image_inspect_libpod("nobody").await, 404, "image not known");

    let query = params::ImageGetLibpod { format: Some("docker-archive"), compress: None };
    let one: Vec<_> = images.image_get_libpod(ONE, Some(query)).try_collect().await.unwrap();
    let query = params::ImageExportLibpod {
        format: Some("docker-archive"),
        references: Some(vec![ONE, TWO]),
        compress: None,
        oci_accept_uncompressed_layers: None,
    };
    let both: Vec<_> = images.image_export_libpod(Some(query)).try_collect().await.unwrap();
    assert!(one.concat().len() > 60_000 && both.concat().len() > one.concat().len());
}

async fn change(client: &PodmanRestClient, expected: &Expected) {
    let images = client.v5().images();
    let query = || params::ImageTagLibpod { repo: Some("short"), tag: Some("2") };
    images.image_tag_libpod(ONE, Some(query())).await.unwrap();
    assert_eq!(names(client, Some(r#"{"reference":["short"]}"#)).await.len(), 2);
    let query = params::ImageUntagLibpod { repo: Some("short"), tag: Some("2") };
    images.image_untag_libpod(&expected.one, Some(query)).await.unwrap();
    assert_eq!(names(client, None).await, [BASE, ONE, TWO, OTHER]);
    let query = params::ImageScpLibpod { destination: Some("elsewhere::"), quiet: None };
    fails(images.image_scp_libpod(ONE, Some(query)).await, 501, "not");
    fails(client.v5().containers().container_list_libpod(None).await, 501, "not served");
}

async fn registry(client: &PodmanRestClient, expected: &Expected) {
    let term = format!("{}/app", expected.registry);
    let query = params::ImageSearchLibpod {
        term: Some(&term),
        limit: Some(3),
        tls_verify: Some(false),
        list_tags: Some(true),
        ..params::ImageSearchLibpod::default()
    };
    let found = client.v5().images().image_search_libpod(Some(query)).await.unwrap();
    let tags: Vec<_> = found.iter().map(|hit| hit.tag.as_deref().unwrap()).collect();
    assert_eq!(set(&tags), set(&["1", "2"]));
    let name = format!("{term}:2");
    let query = params::ImagePullLibpod {
        reference: Some(&name),
        tls_verify: Some(false),
        ..params::ImagePullLibpod::default()
    };
    let pulled = client.v5().images().image_pull_libpod(Some(query)).await.unwrap();
    let image = client.v5().images().image_inspect_libpod(&name).await.unwrap();
    assert_eq!((&pulled.id, pulled.images), (&image.id, image.id.clone().map(|id| vec![id])));
    client.v5().images().image_delete_libpod(&name, None).await.unwrap();
    let login = AuthConfig {
        serveraddress: Some(expected.registry.clone()),
        username: Some("anybody".to_owned()),
        password: Some("secret".to_owned()),
        ..AuthConfig::default()
    };
    fails(client.system_auth(login).await, 500, "http: server gave HTTP response to HTTPS client");
}

async fn remove(client: &PodmanRestClient, expected: &Expected) {
    let images = client.v5().images();
    let report = images.image_delete_libpod(OTHER, None).await.unwrap();
    assert_eq!((report.untagged.unwrap(), report.deleted), (vec![OTHER.to_owned()], None));
    let query = params::ImageDeleteAllLibpod {
        images: Some(vec![TWO, "nobody"]),
        ignore: Some(true),
        ..params::ImageDeleteAllLibpod::default()
    };
    let report = images.image_delete_all_libpod(Some(query)).await.unwrap();
    assert_eq!(report.deleted, Some(vec![expected.two.clone()]));
    assert_eq!((report.exit_code, report.errors), (Some(0), None));
    let query = params::ImagePruneLibpod { all: Some(true), ..params::ImagePruneLibpod::default() };
    let pruned = images.image_prune_libpod(Some(query)).await.unwrap();
    assert_eq!(pruned.len(), 1);
    assert_eq!(pruned[0].id.as_ref(), Some(&expected.one));
    assert_eq!(names(client, None).await, [BASE]);
}

/// A call that must fail, with this status and this text.
#[track_caller]
fn fails<T: Debug, E: Debug + ToString>(result: Result<T, E>, status: u16, text: &str) {
    let error = result.expect_err("an error is expected").to_string();
    assert!(error.starts_with(&format!("Api Error: {status} ")) && error.contains(text), "{error}");
}
