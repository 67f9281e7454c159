//! Images that are not in a registry, pulled as Podman on this host pulls them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::records;
use crate::support::check::assert_sound;
use crate::support::events::{Seen, events};
use crate::support::http::{PREFIX, escape};
use crate::support::server::{PATIENCE, imaged, podman_service};
use crate::support::tool::{command, output, run};
use crate::support::{DockerArchive, Layer, OciArchive, Response, Server, Store, tree};

/// A directory whose path is a name, so that what is in it can be called by it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("imaged-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// An archive as the directory that is in it.
    fn unpack(&self, name: &str, archive: &[u8]) -> String {
        let file = self.write("unpacked.tar", archive);
        fs::create_dir(self.path(name)).unwrap();
        run(&mut command("tar", ["-x", "-f", &file, "-C", &self.path(name)]));
        self.path(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn layers(text: &str) -> [Layer; 2] {
    [Layer::files(&[("etc/file", text.as_bytes())]), Layer::random(3, "srv", 5, 3000)]
}

fn docker(names: &[&str], text: &str) -> DockerArchive {
    DockerArchive::new(names, &layers(text))
}

fn oci(name: &str, text: &str) -> OciArchive {
    OciArchive::new(name, &layers(text))
}

fn answer(server: &Server, reference: &str, query: &str) -> Response {
    let reference = escape(reference);
    server.client().post(&format!("/images/pull?reference={reference}&{query}"))
}

fn refused(server: &Server, reference: &str, query: &str) -> (u16, String) {
    let answer = answer(server, reference, &format!("quiet=true&{query}"));
    assert!(answer.status >= 400, "{}", answer.text());
    (answer.status, answer.json()["message"].as_str().unwrap().to_owned())
}

/// What the store says of its images.
fn stored(store: &Store) -> Vec<Value> {
    let mut found = store.records("overlay-images/images.json");
    for image in &mut found {
        // The rest is about times and this store.
        let image = image.as_object_mut().unwrap();
        image.retain(|key, _| {
            ["id", "digest", "names", "layer", "big-data-digests"].contains(&key.as_str())
        });
        // The names under which Podman has kept signatures, which there are none of.
        let data = image["big-data-digests"].as_object_mut().unwrap();
        data.retain(|key, _| !key.starts_with("signature"));
    }
    found
}

#[test]
fn what_is_pulled_from_files_is_what_podman_pulls() {
    let files = Directory::new("hosted");
    let two =
        docker(&["localhost/one:1", "foo:x"], "one").and(&["localhost/two:1"], &layers("two"));
    let annotated = |key: &'static str, name: &'static str| {
        oci("v1", "oci")
            .indexed(move |index| index["manifests"][0]["annotations"][key] = json!(name))
    };
    let several = oci("localhost/one:1", "one").and(oci("second", "two"));
    let unnamed = oci("x", "oci").indexed(|index| {
        index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    });
    let mut names = Vec::new();
    for (name, archive) in [
        ("one.tar", docker(&["localhost/one:1", "foo:x"], "one").build()),
        ("plain.tar", docker(&[], "one").build()),
        ("two.tar", two.build()),
        ("none.tar", DockerArchive::default().build()),
    ] {
        names.push(format!("docker-archive:{}", files.write(name, &archive)));
    }
    let two = files.path("two.tar");
    for choice in
        ["localhost/two:1", "foo:x", "foo", "nope", "UPPER", "", "@0", "@1", "@2", "@x", "@-1"]
    {
        names.push(format!("docker-archive:{two}:{choice}"));
    }
    for (name, archive) in [
        ("named", oci("localhost/named:1", "oci")),
        ("tagged", oci("v1", "oci")),
        ("unnamed", unnamed),
        ("containerd", annotated("io.containerd.image.name", "quay.io/a/b:1")),
        ("upper", oci("UPPER", "oci")),
        ("several", several),
    ] {
        let archive = archive.build();
        let file = files.write(&format!("{name}.oci"), &archive);
        let directory = files.unpack(name, &archive);
        for place in [format!("oci-archive:{file}"), format!("oci:{directory}")] {
            for choice in ["", ":", ":v1", ":second", ":localhost/one:1", ":nope"] {
                names.push(format!("{place}{choice}"));
            }
        }
    }
    let upper = files.unpack("Upper", &oci("v1", "oci").build());
    names.push(format!("oci:{upper}"));
    for kind in ["dir", "Dir.1"] {
        let (from, to) = (files.path("unnamed"), format!("dir:{}", files.path(kind)));
        run(&mut command(
            "skopeo",
            ["--insecure-policy", "copy", "-q", &format!("oci:{from}"), &to],
        ));
        names.push(to);
    }
    // What is of another kind, or is not there.
    let (oci_file, docker_file) = (files.path("named.oci"), files.path("one.tar"));
    names.push(format!("docker-archive:{oci_file}"));
    names.push(format!("oci-archive:{docker_file}"));
    names.push(format!("dir:{}", files.path("named")));
    names.push(format!("oci:{}", files.path("dir")));
    for transport in ["docker-archive", "oci-archive", "oci", "dir"] {
        names.push(format!("{transport}:{}", files.path("nothing")));
    }

    let (ours, theirs) = (Store::new(), Store::new());
    let server = Server::start(&ours);
    let mut brought = 0;
    for name in &names {
        server.client().delete("/images/remove?all=true&force=true").expect(200);
        theirs.podman(["rmi", "--all", "--force"]);
        let their = output(&mut theirs.podman_command(["pull", "--quiet", name]));
        let our = answer(&server, name, "quiet=true");
        let error = String::from_utf8_lossy(&their.stderr).into_owned();
        assert_eq!(our.status == 200, their.status.success(), "{name}: {}\n{error}", our.text());
        if our.status == 200 {
            let ids = String::from_utf8_lossy(&their.stdout).into_owned();
            let ids: Vec<&str> = ids.lines().collect();
            assert_eq!(our.json()["images"], json!(ids), "{name}");
            assert_eq!(our.json()["id"], json!(ids.last()), "{name}");
            assert_eq!(stored(&ours), stored(&theirs), "{name}");
            brought += 1;
        } else {
            assert_eq!(stored(&ours), [Value::Null; 0], "{name}");
            assert!(is_told_alike(&our, &error), "{name}: {}\n{error}", our.text());
        }
    }
    assert!(brought > 20 && brought < names.len() - 20, "{brought} of {}", names.len());
    assert_sound(&ours);
}

/// Whether a failure has Podman's words, except for those about its temporary directories and about
/// where in a directory something is missing.
fn is_told_alike(our: &Response, their: &str) -> bool {
    let message = our.json()["message"].as_str().unwrap().to_owned();
    let their = their.trim().trim_start_matches("Error: ");
    message == their || {
        let last = |text: &str| text.rsplit(": ").next().unwrap_or_default().to_owned();
        let missing = "no such file or directory";
        last(&message) == last(their)
            && (last(their) == missing || their.contains("file does not exist"))
    }
}

#[test]
fn records_and_events_tell_of_it() {
    let files = Directory::new("hosted-records");
    let store = Store::new();
    let server = Server::start(&store);
    let image = oci("localhost/image:1", "told");
    let archive = format!("oci-archive:{}", files.write("image.tar", &image.build()));
    let told = records(&answer(&server, &archive, "").expect(200));
    let lines: Vec<_> = told.iter().filter_map(|it| it["stream"].as_str()).collect();
    let blob = |index| format!("Copying blob sha256:{}\n", image.layer_blob(index));
    let mut blobs = [blob(0), blob(1)];
    blobs.sort();
    let config = format!("Copying config sha256:{}\n", image.image_id());
    let mut expected = vec!["Getting image source signatures\n"];
    // In the order of the archive.
    expected.extend(blobs.iter().map(String::as_str));
    expected.extend([&*config, "Writing manifest to image destination\n"]);
    assert_eq!(lines, expected);
    let last = json!({"status": "success", "images": [image.image_id()], "id": image.image_id()});
    assert_eq!(told.last(), Some(&last));
    let told = records(&answer(&server, &archive, "pullProgress=true").expect(200));
    let done = told.iter().filter(|it| it["pullProgress"]["status"] == "success").count();
    assert_eq!(done, 3, "{told:#?}");

    // A directory is read in the order of the manifest. Each of its two names gets its ID.
    let archive = docker(&["localhost/a:1", "localhost/b:1"], "told");
    let archive = format!("docker-archive:{}", files.write("docker.tar", &archive.build()));
    let told = records(&answer(&server, &archive, "").expect(200));
    assert_eq!(told.last().unwrap()["images"].as_array().unwrap().len(), 2);
    let missing = format!("dir:{}", files.path("none"));
    assert_eq!(refused(&server, &missing, "").0, 404);
    let seen: Vec<_> = events(&server.client(), "stream=false");
    let names: Vec<_> = seen.iter().map(|it| Seen::of(it)).collect();
    let id = docker(&[], "told").image_id(0);
    assert_eq!(names[2], Seen::image("pull", &id, &archive));
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[3]["Status"].as_str().or(seen[3]["Action"].as_str()), Some("pull-error"));

    // What makes no sense is refused, or is no matter.
    let text = "pulling all tags is not supported for docker-archive transport";
    assert_eq!(refused(&server, &archive, "allTags=true"), (400, text.to_owned()));
    answer(&server, &archive, "quiet=true&policy=never").expect(200);
    for other in ["containers-storage:x", "ostree:/x", "sif:/x", "tarball:/x"] {
        let (transport, _) = other.split_once(':').unwrap();
        let text = format!(
            "unsupported transport {transport} in {other:?}: only docker transport is supported"
        );
        assert_eq!(refused(&server, other, ""), (400, text));
    }
    let text = "path is not absolute: \"image.tar\"".to_owned();
    assert_eq!(refused(&server, "oci-archive:image.tar", ""), (400, text));

    // The remote client sends the name as it is.
    store.podman(["rmi", "--all", "--force"]);
    let id = server.remote(["pull", "--quiet", &archive]);
    let expected = docker(&[], "told").image_id(0);
    assert_eq!(id.lines().collect::<Vec<_>>(), [&*expected; 2]);
    assert_sound(&store);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let files = Directory::new("hosted-refused");
    let store = Store::new();
    let policy = store.path("policy.json");
    fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let flags = ["--signature-policy", &policy.display().to_string(), "--unpacked-limit", "100000"];
    let server = Server::start_with(&store, &flags);
    let before = loaded_before(&server, &store);
    let damaged = oci("localhost/image:1", "damaged");
    let (good, zeros) = (damaged.build(), format!("sha256:{}", "0".repeat(64)));
    let large = OciArchive::new("localhost/large:1", &[Layer::files(&[("zeros", &[0; 200_000])])]);
    let blob = damaged.layer_blob(1).to_owned();
    let unpacked = files.unpack("unpacked", &damaged.clone().corrupt(&blob).build());
    let short = files.unpack("short", &damaged.clone().without(&blob).build());
    let of_directory = |path: &str| format!("oci:{path}");
    let of_file = |transport: &str, name: &str, content: &[u8]| {
        format!("{transport}:{}", files.write(name, content))
    };
    for (name, status, text) in [
        (of_file("oci-archive", "garbage", b"garbage"), 500, ""),
        (of_file("docker-archive", "empty", b""), 500, ""),
        (of_file("oci-archive", "cut.tar", &good[..good.len() / 2]), 500, ""),
        (of_file("oci-archive", "corrupt.tar", &damaged.clone().corrupt(&blob).build()), 500, ""),
        (of_directory(&unpacked), 500, "initializing source oci:"),
        (of_directory(&short), 500, "no such file or directory"),
        (
            of_file(
                "docker-archive",
                "wrong.tar",
                &docker(&["a:1"], "wrong").with_diff_ids(&[&zeros, &zeros]).build(),
            ),
            500,
            "Digest did not match, expected sha256:0000",
        ),
        (of_file("oci-archive", "large.tar", &large.build()), 413, "limit"),
        (format!("dir:{}", files.path("garbage")), 500, "not a directory"),
        (format!("oci-archive:{unpacked}"), 500, "is a directory"),
        ("docker-archive:/dev/zero".to_owned(), 500, "not a regular file"),
    ] {
        let (found, message) = refused(&server, &name, "");
        assert_eq!(found, status, "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
        tree::assert_same(&tree::outline(&store.root()), &before);
    }

    // By what the policy says about the place, before anything is read.
    let archive = docker(&["localhost/image:1"], "policy").build();
    let layout = oci("localhost/image:1", "policy").build();
    let unpacked = files.unpack("layout", &layout);
    let from = format!("oci:{unpacked}");
    let directory = format!("dir:{}", files.path("dir"));
    run(&mut command("skopeo", ["--insecure-policy", "copy", "-q", &from, &directory]));
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    for (name, transport, scope) in [
        (of_file("docker-archive", "d.tar", &archive), "docker-archive", String::new()),
        (of_file("oci-archive", "o.tar", &layout), "oci-archive", files.path("o.tar")),
        (from, "oci", files.0.display().to_string()),
        (directory, "dir", files.path("dir")),
    ] {
        for (scope, accepted) in [(scope, true), ("/elsewhere".to_owned(), false)] {
            if transport == "docker-archive" && !accepted {
                fs::write(&policy, r#"{"default":[{"type":"reject"}]}"#).unwrap();
            } else {
                let text = format!(
                    r#"{{"default":[{{"type":"reject"}}],"transports":{{"{transport}":{{"{scope}":{accept}}}}}}}"#
                );
                fs::write(&policy, text).unwrap();
            }
            if accepted {
                answer(&server, &name, "quiet=true").expect(200);
                server.client().delete("/images/remove?all=true").expect(200);
                continue;
            }
            let (status, message) = refused(&server, &name, "");
            let shown =
                if transport.starts_with("oci") { format!("{name}:") } else { name.clone() };
            let text =
                format!("Source image rejected: Running image {shown} is rejected by policy.");
            assert_eq!((status, message), (500, text));
        }
    }
    assert_eq!(store.image_ids(), [""; 0]);
}

/// The store after an image has been in it, which makes some directories.
fn loaded_before(server: &Server, store: &Store) -> tree::Tree {
    server.client().load_bytes(docker(&["localhost/before:1"], "before").build()).expect(200);
    server.client().delete("/images/remove?all=true").expect(200);
    tree::outline(&store.root())
}

/// A server that takes images from the Docker daemon at `socket`.
fn with_daemon(store: &Store, socket: &Path) -> Server {
    let mut command = imaged(store, &store.path("api.sock"));
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    Server::spawn(store, &mut command, &store.path("api.sock"))
}

#[test]
fn the_docker_daemon_is_asked_as_podman_asks_it() {
    let daemon_store = Store::new();
    let socket = daemon_store.path("docker.sock");
    let daemon = Server::spawn(&daemon_store, &mut podman_service(&daemon_store, &socket), &socket);
    let archive = docker(&["localhost/one:1", "docker.io/library/two:2"], "daemon");
    daemon.client().load_bytes(archive.build()).expect(200);
    let (ours, theirs) = (Store::new(), Store::new());
    let server = with_daemon(&ours, &socket);
    // Podman looks for the daemon in one place only.
    let podman = |name: &str| {
        let podman = theirs.podman_command(["pull", "--quiet", name]);
        let script = "mount -t tmpfs none /run && ln -s \"$1\" /run/docker.sock && shift && \
                      exec \"$@\"";
        let mut command = command("unshare", ["--mount", "sh", "-c", script, "sh"]);
        command.arg(&socket).arg(podman.get_program()).args(podman.get_args());
        for (key, value) in podman.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        output(command.current_dir(theirs.dir()))
    };
    for name in ["localhost/one:1", "two:2", "docker.io/library/two:2"] {
        let name = format!("docker-daemon:{name}");
        let their = podman(&name);
        assert!(their.status.success(), "{}", String::from_utf8_lossy(&their.stderr));
        let our = answer(&server, &name, "quiet=true").expect(200).json();
        let id = String::from_utf8_lossy(&their.stdout).trim().to_owned();
        assert_eq!(our["images"], json!([id]));
        assert_eq!(stored(&ours), stored(&theirs), "{name}");
        server.client().delete("/images/remove?all=true&force=true").expect(200);
        theirs.podman(["rmi", "--all", "--force"]);
    }
    let id = archive.image_id(0);
    answer(&server, &format!("docker-daemon:sha256:{id}"), "quiet=true").expect(200);
    assert_eq!(stored(&ours)[0]["names"], Value::Null);
    server.client().delete("/images/remove?all=true&force=true").expect(200);

    let (status, message) = refused(&server, "docker-daemon:nope:1", "");
    assert_eq!(status, 500);
    let start = "initializing source docker-daemon:nope:1: loading image from docker engine: Error \
                 response from daemon: ";
    assert!(message.starts_with(start) && message.contains("image not known"), "{message}");
    for name in ["localhost/one", "UPPER:1", "", &id] {
        let name = format!("docker-daemon:{name}");
        let (status, message) = refused(&server, &name, "");
        let their = String::from_utf8_lossy(&podman(&name).stderr).into_owned();
        assert_eq!(status, 400, "{name}");
        assert_eq!(message, their.trim().trim_start_matches("Error: "), "{name}");
    }
    daemon.kill();
    let (status, message) = refused(&server, "docker-daemon:localhost/one:1", "");
    let text = format!(
        "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?",
        socket.display()
    );
    assert!(status == 500 && message.ends_with(&text), "{status} {message}");
    assert_sound(&ours);
}

/// Answers one request with half of an archive, and does with the connection what `end` says.
fn half(socket: &Path, archive: &[u8], end: impl FnOnce(UnixStream)) {
    let listener = UnixListener::bind(socket).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let first = "GET /images/get?names=localhost%2Fone%3A1 HTTP/1.1\r\n";
    assert!(request.starts_with(first), "{request}");
    let half = &archive[..archive.len() / 2];
    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", half.len())
        .unwrap();
    stream.write_all(half).unwrap();
    stream.write_all(b"\r\n").unwrap();
    end(stream);
    fs::remove_file(socket).unwrap();
}

#[test]
fn half_of_what_a_daemon_has_is_no_image() {
    let store = Store::new();
    let socket = store.path("docker.sock");
    let server = with_daemon(&store, &socket);
    let before = loaded_before(&server, &store);
    let archive = docker(&["localhost/one:1"], "half").build();
    let name = "docker-daemon:localhost/one:1";
    std::thread::scope(|scope| {
        let daemon = scope.spawn(|| half(&socket, &archive, drop));
        wait(|| socket.exists());
        assert_eq!(refused(&server, name, "").0, 500);
        daemon.join().unwrap();
    });
    tree::assert_same(&tree::outline(&store.root()), &before);

    // When the client leaves, the daemon is left too, and what was unpacked goes.
    std::thread::scope(|scope| {
        let daemon = scope.spawn(|| {
            half(&socket, &archive, |mut stream| {
                wait(|| tree::outline(&store.root()) != before);
                fs::write(store.path("halfway"), "").unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end of the connection");
            });
        });
        wait(|| socket.exists());
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        let target = format!("{PREFIX}/images/pull?reference={}", escape(name));
        write!(stream, "POST {target} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").unwrap();
        wait(|| store.path("halfway").exists());
        drop(stream);
        daemon.join().unwrap();
    });
    wait(|| tree::outline(&store.root()) == before);
}

#[track_caller]
fn wait(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}
