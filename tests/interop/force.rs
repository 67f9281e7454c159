//! Containers of every tool that go with their image, or keep it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::commit::{commit, database};
use crate::freeze::Running;
use crate::load::assert_empty;
use crate::support::check::assert_sound;
use crate::support::events::sharing_server;
use crate::support::tool::{output, run_failing};
use crate::support::{DockerArchive, Layer, Server, Store};

const A: &str = "localhost/a:1";
const B: &str = "localhost/b:1";

fn two_stores(server: &Server) {
    let base = Layer::files(&[("etc/file", b"content")]);
    for name in [A, B] {
        let own = Layer::files(&[("name", name.as_bytes())]);
        let image = DockerArchive::new(&[name], &[base.clone(), own]);
        server.client().load_bytes(image.build()).expect(200);
    }
}

fn store() -> (Store, Server) {
    let store = Store::new();
    let server = sharing_server(&store);
    two_stores(&server);
    (store, server)
}

fn ids(list: &[Value]) -> Vec<&str> {
    list.iter().map(|it| it["id"].as_str().unwrap()).collect()
}

/// Directories of containers, below both roots.
fn directories(store: &Store) -> Vec<String> {
    let roots = [store.root(), store.runroot()].map(|root| root.join("overlay-containers"));
    let entries = roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 64).collect()
}

/// Writes a file into a container, whose tool mounts it for that.
fn write(root: &str) {
    fs::write(Path::new(root).join("written"), vec![1; 100_000]).unwrap();
}

/// A refusal by force, which names the container and says what is about it.
#[track_caller]
fn refused(server: &Server, container: &str, why: &str) {
    let answer = server.client().delete("/images/a:1?force=true").expect(409).json();
    assert_eq!(answer["cause"], "image is in use by a container");
    let message = answer["message"].as_str().unwrap();
    let start = format!("image used by {container}: image is in use by a container: ");
    assert!(message.starts_with(&start) && message.contains(why), "{message}");
    let report = server.client().delete("/images/remove?images=a:1&force=true").expect(200).json();
    assert_eq!((&report["ExitCode"], report["Errors"].as_array().unwrap().len()), (&json!(2), 1));
    // Which of its processes is found, of those that come and go, is an accident.
    let digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(digits(report["Errors"][0].as_str().unwrap()), digits(message));
}

#[test]
fn containers_of_all_tools_go_with_their_image() {
    let (store, server) = store();
    let image = store.inspect(A)["Id"].as_str().unwrap().to_owned();
    let podman = store.podman(["create", "--network=none", "--name=p", "--label=k=v", A, "/x"]);
    write(&store.podman(["mount", "p"]));
    store.podman(["unmount", "p"]);
    let working = store.buildah(["from", "--name=w", A]);
    write(&store.buildah(["mount", &working]));
    store.buildah(["unmount", &working]);
    store.storage(["create-container", "--name", "stranger", &image]);
    let kept = store.podman(["create", "--network=none", "--name=kept", B, "/x"]);
    assert_eq!(store.records("overlay-containers/containers.json").len(), 4);
    assert_sound(&store);
    let (before, log) = (database(&store), log(&store));

    let report = server.client().delete("/images/a:1?force=true").expect(200).json();
    assert_eq!(report, json!({"Untagged": [A], "Deleted": [image], "ExitCode": 0, "Errors": []}));
    assert_eq!(database(&store), before, "Podman's database was touched");
    assert_eq!(ids(&store.records("overlay-containers/containers.json")), [&kept]);
    let mut left = directories(&store);
    left.dedup();
    assert_eq!(left, [kept.as_str(), &kept][..left.len()]);
    assert_eq!(store.records("overlay-layers/layers.json").len(), 3);
    assert_eq!(store.buildah(["containers", "--quiet"]), "");
    // The events are those of Podman: its container, then the image.
    let text = fs::read_to_string(store.path("libpod/events/events.log")).unwrap();
    let events: Vec<Value> =
        text[log.len()..].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = events.iter().map(|it| (it["Status"].clone(), it["ID"].clone())).collect();
    let expected = [("remove", &podman), ("untag", &image), ("remove", &image)];
    assert_eq!(told, expected.map(|(action, id)| (json!(action), json!(id))));
    assert_eq!((&events[0]["Name"], &events[0]["Image"]), (&json!("p"), &json!(A)));
    assert_eq!(events[0]["Attributes"], json!({"k": "v", "made": "for-a-test"}));
    assert_sound(&store);

    // Podman has its own record still, and gets along with that.
    let listed = store.podman(["ps", "--all", "--noheading", "--format={{.Names}} {{.Status}}"]);
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["kept Created", "p Created"]);
    let error = run_failing(&mut store.podman_command(["start", "p"]));
    assert!(error.contains("unable to start container"), "{error}");
    store.podman(["system", "df"]);
    store.podman(["rm", "p"]);
    assert_eq!(store.podman(["ps", "--all", "--format={{.Names}}"]), "kept");
    store.podman(["create", "--network=none", "--name=p", B, "/x"]);
    store.podman(["rm", "p", "kept"]);
    server.client().delete("/images/b:1").expect(200);
    assert_empty(&store);
}

fn log(store: &Store) -> String {
    fs::read_to_string(store.path("libpod/events/events.log")).unwrap()
}

/// Newer tools keep containers that do not outlive a reboot in a file of their own.
#[test]
fn volatile_containers_go_as_well() {
    let (store, server) = store();
    let id = store.podman(["create", "--network=none", "--name=c", A, "/x"]);
    let other = store.podman(["create", "--network=none", "--name=d", B, "/x"]);
    let directory = store.root().join("overlay-containers");
    let records = store.records("overlay-containers/containers.json");
    let (volatile, lasting): (Vec<_>, Vec<_>) = records.into_iter().partition(|it| it["id"] == id);
    fs::write(directory.join("containers.json"), json!(lasting).to_string()).unwrap();
    fs::write(directory.join("volatile-containers.json"), json!(volatile).to_string()).unwrap();
    // They are committed as others are.
    commit(&server, "container=c&repo=volatile");
    server.client().delete("/images/volatile").expect(200);
    server.client().delete("/images/a:1").expect(409);
    server.client().delete("/images/a:1?force=true").expect(200);
    assert_eq!(fs::read(directory.join("volatile-containers.json")).unwrap(), b"[]");
    assert_eq!(ids(&store.records("overlay-containers/containers.json")), [other]);
    assert!(!directories(&store).contains(&id));
    assert_sound(&store);
}

#[test]
fn containers_that_run_stay_with_their_image() {
    let (store, server) = store();
    let running = Running::start(&store, A);
    refused(&server, &running.id, "container running is not removed (it is running, with process");
    // Also if its control group tells nothing.
    running.leave_group();
    refused(&server, &running.id, "it is running, with process");
    // The others are removed.
    let query = "/images/remove?images=a:1&images=b:1&force=true";
    let report = server.client().delete(query).expect(200).json();
    assert_eq!((&report["ExitCode"], &report["Untagged"]), (&json!(2), &json!([B])));
    assert_eq!(report["Errors"].as_array().unwrap().len(), 1);
    assert_sound(&store);
    drop(running);
    server.client().delete("/images/a:1?force=true").expect(200);
    assert_empty(&store);
}

#[test]
fn mounted_containers_stay_with_their_image() {
    let (store, server) = store();
    let podman = store.podman(["create", "--network=none", "--name=p", A, "/x"]);
    store.podman(["mount", "p"]);
    refused(&server, &podman, "mounted");
    store.podman(["unmount", "p"]);
    // Mounted by nobody who counts, in one of the container's directories.
    let shm = store.root().join("overlay-containers").join(&podman).join("userdata/shm");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("shm", &shm, "tmpfs", flags, None).unwrap();
    refused(&server, &podman, "mounted");
    rustix::mount::unmount(&shm, rustix::mount::UnmountFlags::empty()).unwrap();
    store.podman(["rm", "p"]);

    let working = store.buildah(["from", "--name=w", A]);
    store.buildah(["mount", &working]);
    let id = store.buildah(["containers", "--quiet", "--notruncate"]);
    refused(&server, &id, "mounted");
    assert_eq!(
        server
            .client()
            .post("/images/prune?all=true&external=true")
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    store.inspect(A);
    store.buildah(["unmount", &working]);
    server.client().delete("/images/a:1?force=true").expect(200);
    assert_empty(&store);
}

/// Podman would refuse as well, or remove the pod.
#[test]
fn containers_that_others_need_stay() {
    let (store, server) = store();
    let first = store.podman(["create", "--network=none", "--name=first", A, "/x"]);
    let second = store.podman(["create", "--network=container:first", "--name=second", B, "/x"]);
    refused(&server, &first, &format!("container {second} depends on it"));
    store.podman(["rm", "second"]);
    store.podman(["rm", "first"]);
    let pod = ["pod", "create", "--name=pod", "--network=none", "--infra-command=/x"];
    let mut command = store.podman_command(pod);
    let created = output(command.args(["--infra-image", A]));
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let infra = store.podman(["ps", "--all", "--quiet", "--no-trunc"]);
    let pod = store.podman(["pod", "ps", "--quiet", "--no-trunc"]);
    refused(&server, &infra, &format!("it holds pod {pod} together"));
    store.podman(["pod", "rm", "pod"]);
    server.client().delete("/images/a:1?force=true").expect(200);
    assert_sound(&store);
}

#[test]
fn a_prune_takes_containers_of_others_along() {
    let (store, server) = store();
    store.podman(["create", "--network=none", "--name=p", A, "/x"]);
    store.buildah(["from", "--name=w", B]);
    let prune = |query: &str| {
        let report = server.client().post(&format!("/images/prune?{query}")).expect(200).json();
        let ids = report.as_array().unwrap().iter().map(|it| it["Id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let b = store.inspect(B)["Id"].as_str().unwrap().to_owned();
    assert_eq!(prune("all=true"), [""; 0]);
    assert_eq!(prune("external=true"), [""; 0]);
    // As Podman does with the same query.
    let before = database(&store);
    assert_eq!(prune("all=true&external=true"), [b]);
    assert_eq!(database(&store), before);
    assert_eq!(store.buildah(["containers", "--quiet"]), "");
    assert_eq!(directories(&store).len(), 2);
    let bad =
        "/images/prune?all=true&external=true&filters=%7B%22containers%22%3A%5B%22true%22%5D%7D";
    let answer = server.client().post(bad).expect(500).json();
    let text =
        "specifying \"containers\" filter more than once with different values is not supported";
    assert_eq!(answer["message"], text);
    assert_sound(&store);
    // With its own container a remote Podman is as good as we are.
    let out = server.remote(["rmi", "--force", A]);
    assert!(out.contains("Untagged: localhost/a:1"), "{out}");
    store.podman(["rm", "p"]);
    assert_empty(&store);
}
