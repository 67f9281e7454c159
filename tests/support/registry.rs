//! Debian's `docker-registry` on the loopback interface, and certificates for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tokens::{self, Tokens};
use super::tool::{command, run};
use super::{Layer, OciArchive, server};

/// The user that a registry with authentication knows.
pub(crate) const USER: &str = "somebody";
/// His password.
pub(crate) const PASSWORD: &str = "secret-pw";
const HTPASSWD: &str = "somebody:$2b$05$abcdefghijklmnopqrstuutaz/SHXsrvqy/ChnunBIcMuq4PCR.gG\n";

/// A running registry, killed when dropped.
pub(crate) struct Registry {
    child: Child,
    dir: TempDir,
    port: u16,
    setup: Setup,
    tokens: Option<Tokens>,
}

/// How a registry is set up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// With a certificate of its own authority.
    pub(crate) tls: bool,
    /// Only for those who show a certificate of that authority.
    pub(crate) client_certificate: bool,
    /// Only for [`USER`].
    pub(crate) password: bool,
    /// Only for those who have a [token](Tokens). Not together with a password.
    pub(crate) tokens: bool,
    /// Manifests and blobs can be deleted.
    pub(crate) deletes: bool,
}

impl Registry {
    /// A registry without TLS, for everybody.
    pub(crate) fn plain() -> Self {
        Self::start(Setup::default())
    }

    /// A registry set up this way, answering.
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("imaged-registry-").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n",
            path("data")
        );
        config += &format!("  delete: {{enabled: {}}}\n", setup.deletes);
        config += "http:\n  addr: 127.0.0.1:0\n";
        if setup.tls {
            certificates(dir.path());
            config += &format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                path("server.cert"),
                path("server.key")
            );
            if setup.client_certificate {
                config += &format!("    clientcas: [{}]\n", path("ca.crt"));
            }
        }
        if setup.password {
            fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
        }
        let tokens = setup.tokens.then(|| Tokens::start(dir.path()));
        if let Some(service) = &tokens {
            config += &format!(
                "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    \
                 rootcertbundle: {}\n",
                service.realm(),
                tokens::SERVICE,
                tokens::ISSUER,
                path("tokens.crt")
            );
        }
        fs::write(path("config.yml"), config).unwrap();
        let log = File::create(path("log")).unwrap();
        let child = command("docker-registry", ["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry must be installed: {error}"));
        let mut registry = Self { child, dir, port: 0, setup, tokens };
        registry.port = registry.wait_for_port();
        registry
    }

    fn wait_for_port(&mut self) -> u16 {
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(self.path("log")).unwrap();
            if let Some((_, rest)) = log.split_once("listening on 127.0.0.1:")
                && let Some(end) = rest.find(|c: char| !c.is_ascii_digit())
            {
                return rest[..end].parse().unwrap();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < server::PATIENCE, "no registry:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `localhost:PORT`.
    pub(crate) fn localhost(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The service that gives tokens for it.
    pub(crate) fn tokens(&self) -> &Tokens {
        self.tokens.as_ref().expect("set up with tokens")
    }

    /// One of its files: `ca.crt`, or `client.cert` and `client.key` of that authority.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How many bytes it keeps.
    pub(crate) fn stored(&self) -> u64 {
        let mut total = 0;
        let mut directories = vec![self.path("data")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    directories.push(entry.path());
                } else {
                    total += metadata.len();
                }
            }
        }
        total
    }

    /// Puts a small image there, the same for every name.
    #[track_caller]
    pub(crate) fn push(&self, names: &[&str]) {
        let archive = self.path("image.tar");
        if !archive.exists() {
            let image = OciArchive::new("image:1", &[layer()]);
            fs::write(&archive, image.build()).unwrap();
        }
        for name in names {
            let mut skopeo = Command::new("skopeo");
            skopeo.env("HOME", self.dir.path()).args(["--insecure-policy", "copy", "--quiet"]);
            if self.setup.tls {
                // The authority, and for those who ask for it the client's certificate.
                skopeo.arg("--dest-cert-dir").arg(self.certificates());
            } else {
                skopeo.arg("--dest-tls-verify=false");
            }
            if self.setup.password || self.setup.tokens {
                skopeo.arg(format!("--dest-creds={USER}:{PASSWORD}"));
            }
            skopeo.arg(format!("oci-archive:{}", archive.display()));
            skopeo.arg(format!("docker://{}/{name}", self.host()));
            run(&mut skopeo);
        }
    }

    /// A directory with what clients need, for `certs.d`.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.path("clients")
    }

    /// Makes clients whose home is `home` trust this registry, and show their certificate.
    pub(crate) fn make_known(&self, home: &Path) {
        let directory = home.join(".config/containers/certs.d").join(self.host());
        fs::create_dir_all(&directory).unwrap();
        for name in ["ca.crt", "client.cert", "client.key"] {
            fs::copy(self.certificates().join(name), directory.join(name)).unwrap();
        }
    }
}

/// The only layer of every image.
pub(crate) fn layer() -> Layer {
    Layer::files(&[("etc/file", b"content")])
}

impl Drop for Registry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- registry log\n{log}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, a server's certificate for the loopback interface, and a client's.
fn certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let mut command = command("openssl", arguments.split(' '));
        run(command.current_dir(dir));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.crt -days 3650 -subj /CN=authority \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
    ));
    for (name, extension) in [
        ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        fs::write(dir.join("extensions"), extension).unwrap();
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 \
             -extfile extensions -out {name}.cert"
        ));
    }
    fs::create_dir(dir.join("clients")).unwrap();
    for name in ["ca.crt", "client.cert", "client.key"] {
        fs::copy(dir.join(name), dir.join("clients").join(name)).unwrap();
    }
}
