//! Images with real signatures: who is let in, and as what.
//!
//! What is asked runs in a process of its own, since skopeo looks for keys and signatures by the
//! environment it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imaged::image::{Login, Logins, Platform, PolicyFile, Reference};
use imaged::registry::{Access, Admission, Question, Settings, admit};
use serde_json::json;
use tempfile::TempDir;

use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::tool::{command, run, run_failing};

/// A home with keys, a place for signatures and a policy.
struct Signer {
    home: TempDir,
}

impl Signer {
    fn new() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    fn skopeo(&self, arguments: &[&str]) -> Command {
        let mut command = command("skopeo", arguments);
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    /// Copies an image inside of a registry, signed by `key`.
    fn sign(&self, registry: &Registry, from: &str, to: &str, key: &str) {
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
    fn policy(&self) -> PathBuf {
        let path = self.path("policy.json");
        let requirement =
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": self.path("good.gpg")});
        let policy =
            json!({"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}});
        fs::write(&path, policy.to_string()).unwrap();
        path
    }

    /// What is let in as `reference`.
    fn admitted(&self, reference: &str, more: &[(&str, &str)]) -> String {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "policy::signed::asked", "--nocapture", "--test-threads=1"]);
        child.env("HOME", self.home.path()).env("TMPDIR", self.home.path());
        child.env("ASKED_POLICY", self.policy()).env("ASKED_REFERENCE", reference);
        child.envs(more.iter().copied());
        let output = run(&mut child);
        let answer = output.lines().find_map(|line| line.split_once("ANSWER "));
        answer.unwrap_or_else(|| panic!("{output}")).1.to_owned()
    }

    /// The digest of what a registry has.
    fn digest(&self, registry: &Registry, name: &str) -> String {
        let image = format!("docker://{}/{name}", registry.host());
        let format = "{{.Digest}}";
        run(&mut self.skopeo(&["inspect", "--tls-verify=false", "--format", format, &image]))
    }
}

/// Asks as its environment says. Without such an environment there is nothing to ask.
#[test]
fn asked() {
    let Ok(reference) = std::env::var("ASKED_REFERENCE") else { return };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut settings = Settings::default();
    settings.policy = PolicyFile::Named(variable("ASKED_POLICY").into());
    let login = Login {
        username: variable("ASKED_USER"),
        password: variable("ASKED_PASSWORD"),
        ..Login::default()
    };
    let access = Access {
        logins: Logins { everywhere: Some(login), named: Vec::new() },
        tls_verify: Some(!variable("ASKED_TLS").is_empty()),
    };
    let mut platform = Platform::host();
    if !variable("ASKED_ARCHITECTURE").is_empty() {
        platform.architecture = variable("ASKED_ARCHITECTURE");
    }
    let reference = Reference::normalize_docker(&reference).unwrap();
    let question = Question { reference: &reference, platform: &platform, access: &access };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let admitted = admit(&settings, question);
        let running = variable("ASKED_UNTIL");
        if running.is_empty() {
            return Some(admitted.await);
        }
        // Hangs up as soon as this file is there.
        let begun = async {
            while !Path::new(&running).exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            answer = admitted => Some(answer),
            () = begun => None,
        }
    });
    println!(
        "ANSWER {}",
        match answer {
            Some(Ok(Admission::Only(digest))) => digest.to_string(),
            Some(Ok(Admission::Anything)) => "anything".to_owned(),
            Some(Err(error)) => format!("{:?}: {error}", error.kind()),
            None => "gone".to_owned(),
        }
    );
}

#[test]
fn an_image_is_what_was_signed_or_refused() {
    let registry = Registry::plain();
    registry.push(&["app:plain"]);
    let signer = Signer::new();
    signer.sign(&registry, "app:plain", "app:good", "good");
    signer.sign(&registry, "app:plain", "other:bad", "bad");
    let host = registry.host();
    let name = |name: &str| format!("{host}/{name}");
    let digest = signer.digest(&registry, "app:good");
    assert_eq!(signer.admitted(&name("app:good"), &[]), digest);
    assert_eq!(signer.admitted(&name(&format!("app@{digest}")), &[]), digest);
    for (image, text) in [
        // The same image, but this name was not signed.
        ("app:plain", "is not accepted"),
        ("other:bad", "signature"),
        ("none:1", "manifest unknown"),
    ] {
        let answer = signer.admitted(&name(image), &[]);
        assert!(answer.contains(text), "{answer}");
        let policy = signer.policy();
        let theirs = run_failing(&mut signer.skopeo(&[
            "--policy",
            policy.to_str().unwrap(),
            "copy",
            "--src-tls-verify=false",
            &format!("docker://{}", name(image)),
            &format!("dir:{}", signer.path("copy").display()),
        ]));
        let theirs: String = serde_json::from_str(theirs.split_once("msg=").unwrap().1).unwrap();
        assert_eq!(answer.split_once(": ").unwrap().1, theirs);
        let kind = if image == "none:1" { "Answer: " } else { "Rejected: " };
        assert!(answer.starts_with(kind), "{answer}");
    }
    registry.push(&["never:signed"]);
    let unsigned = "Source image rejected: A signature was required, but no signature exists";
    assert_eq!(signer.admitted(&name("never:signed"), &[]), format!("Rejected: {unsigned}"));
    // Signed, but as an image of another registry.
    let other = Registry::plain();
    other.push(&["app:good"]);
    let answer = signer.admitted(&format!("{}/app:good", other.host()), &[]);
    let elsewhere = format!("Signature for identity {} is not accepted", name("app:good"));
    assert_eq!(answer, format!("Rejected: Source image rejected: {elsewhere}"));
}
