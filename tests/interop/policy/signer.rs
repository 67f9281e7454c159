//! Somebody who signs images, and the servers that trust him.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::registry::Registry;
use crate::support::server::{imaged, podman_service};
use crate::support::tool::{command, run};
use crate::support::{OciArchive, Server, Store};

/// A home with keys, a place for signatures and a policy.
pub(super) struct Signer {
    pub(super) home: TempDir,
}

impl Signer {
    pub(super) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("imaged-signer-").tempdir().unwrap();
        let signer = Self { home };
        let directory = signer.path(".config/containers/registries.d");
        fs::create_dir_all(&directory).unwrap();
        let place = format!("file://{}", signer.path("signatures").display());
        let text = format!("default-docker:\n  sigstore: {place}\n  sigstore-staging: {place}\n");
        fs::write(directory.join("default.yaml"), text).unwrap();
        fs::create_dir(signer.path("gnupg")).unwrap();
        run(command("chmod", ["700"]).arg(signer.path("gnupg")));
        for name in ["good", "bad"] {
            let key = "rsa2048";
            let user = format!("{name}@example.com");
            let quiet = ["--batch", "--quiet", "--passphrase", ""];
            run(signer.gpg().args(quiet).args(["--quick-gen-key", &user, key, "sign", "never"]));
            let file = signer.path(&format!("{name}.gpg"));
            run(signer.gpg().arg("--output").arg(file).args(["--export", &user]));
        }
        signer
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    pub(super) fn skopeo(&self, arguments: &[&str]) -> Command {
        let mut command = command("skopeo", arguments);
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    /// Copies an image inside of a registry, signed by `key`.
    pub(super) fn sign(&self, registry: &Registry, from: &str, to: &str, key: &str) {
        let host = registry.host();
        let (from, to) = (format!("docker://{host}/{from}"), format!("docker://{host}/{to}"));
        let key = format!("{key}@example.com");
        run(&mut self.skopeo(&[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--sign-by",
            &key,
            &from,
            &to,
        ]));
    }

    /// Lets in what the good key has signed, from anywhere.
    pub(super) fn policy(&self) -> PathBuf {
        let path = self.path("policy.json");
        let requirement =
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": self.path("good.gpg")});
        let policy =
            json!({"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}});
        fs::write(&path, policy.to_string()).unwrap();
        path
    }

    /// The daemon on a store, with this home, this policy and skopeo from `path`.
    pub(super) fn serve(&self, store: &Store, path: &str) -> Server {
        Server::spawn(store, &mut self.imaged(store, path), &store.path("api.sock"))
    }

    pub(super) fn imaged(&self, store: &Store, path: &str) -> Command {
        let mut command = imaged(store, &store.path("api.sock"));
        command.arg("--signature-policy").arg(self.policy());
        command.env("HOME", self.home.path()).env("PATH", path).env("IMAGED_LOG", "trace");
        command
    }

    /// The reference server with the same policy.
    pub(super) fn serve_podman(&self, store: &Store) -> Server {
        Server::spawn(store, &mut self.podman(store), &store.path("api.sock"))
    }

    pub(super) fn podman(&self, store: &Store) -> Command {
        let mut command = podman_service(store, &store.path("api.sock"));
        let policy = self.path(".config/containers/policy.json");
        fs::copy(self.policy(), policy).unwrap();
        command.env("HOME", self.home.path());
        command
    }

    /// A directory with a script in place of skopeo.
    pub(super) fn instead_of_skopeo(&self, script: &str) -> String {
        let directory = self.path("bin");
        fs::create_dir(&directory).unwrap();
        // By a shell: as long as a process forked here has it open for writing, it cannot be run.
        let write = r#"printf %s "$1" >"$2" && chmod 755 "$2""#;
        let file = directory.join("skopeo").display().to_string();
        run(&mut command("sh", ["-c", write, "sh", &format!("#!/bin/sh\n{script}\n"), &file]));
        format!("{}:{}", directory.display(), path())
    }

    /// Puts an image into a registry.
    pub(super) fn push(&self, registry: &Registry, name: &str, image: &OciArchive) {
        let archive = self.path("image.tar");
        fs::write(&archive, image.build()).unwrap();
        let (from, to) = (
            format!("oci-archive:{}", archive.display()),
            format!("docker://{}/{name}", registry.host()),
        );
        run(&mut self.skopeo(&[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &from,
            &to,
        ]));
    }

    /// The digest of what a registry has.
    pub(super) fn digest(&self, registry: &Registry, name: &str) -> String {
        let image = format!("docker://{}/{name}", registry.host());
        let format = "{{.Digest}}";
        run(&mut self.skopeo(&["inspect", "--tls-verify=false", "--format", format, &image]))
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent that gpg has started would stay a while.
        let kill =
            command("gpgconf", ["--kill", "all"]).env("GNUPGHOME", self.path("gnupg")).status();
        assert!(std::thread::panicking() || kill.unwrap().success());
    }
}

/// Where the tools are.
pub(super) fn path() -> String {
    std::env::var("PATH").unwrap()
}
