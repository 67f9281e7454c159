//! The server under test, started on a store.
//!
//! `IMAGED_TEST_SERVER=podman` runs the same suites on `podman system service`, to see that a
//! test asks for what the reference does. Some tests then fail where the contract follows newer
//! servers than the one installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Client, Store};

/// Longest time a server may take to answer or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Server {
    /// The server on `store`, answering.
    #[track_caller]
    pub(crate) fn start(store: &Store) -> Self {
        Self::start_with(store, &[])
    }

    /// The server with additional arguments of `serve`.
    #[track_caller]
    pub(crate) fn start_with(store: &Store, arguments: &[&str]) -> Self {
        let socket = store.path("api.sock");
        let mut command = if std::env::var_os("IMAGED_TEST_SERVER").is_some_and(|v| v == "podman") {
            podman_service(store, &socket)
        } else {
            imaged(store, &socket)
        };
        command.args(arguments);
        Self::spawn(store, &mut command, &socket)
    }

    /// Starts `command`, which is to serve `socket`, and waits for its first answer.
    #[track_caller]
    pub(crate) fn spawn(store: &Store, command: &mut Command, socket: &Path) -> Self {
        let log = store.path("server.log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { child, socket: socket.to_owned(), log };
        server.wait_until_answering();
        server
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// The address for `podman --url`.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs the remote Podman client on this server; its output.
    #[track_caller]
    pub(crate) fn remote<const N: usize>(&self, args: [&str; N]) -> String {
        super::tool::run(&mut self.remote_command(args))
    }

    /// The remote Podman client, not yet run.
    pub(crate) fn remote_command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new("podman");
        let dir = self.socket.parent().unwrap();
        command.env("HOME", dir).env("TMPDIR", dir).current_dir(dir);
        command.args(["--remote", "--url", &self.url()]).args(args);
        command
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends `signal`.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Ends it with `SIGTERM`.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn wait_until_answering(&mut self) {
        let start = Instant::now();
        let client = self.client();
        while client.try_get("/_ping").is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- server log\n{}", self.log());
        }
        // Fails only when the process has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's command line for `store`, listening on `socket`.
pub(crate) fn imaged(store: &Store, socket: &Path) -> Command {
    let mut command = imaged_on(store);
    command.arg("serve").arg("--listen").arg(format!("unix://{}", socket.display()));
    command
}

/// The daemon's command line up to the subcommand.
pub(crate) fn imaged_on(store: &Store) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imaged"));
    command.arg("--root").arg(store.root()).arg("--runroot").arg(store.runroot());
    command.env("TMPDIR", store.path("tmp")).stdin(Stdio::null());
    command
}

/// The reference server's command line for `store`, listening on `socket`.
pub(crate) fn podman_service(store: &Store, socket: &Path) -> Command {
    let url = format!("unix://{}", socket.display());
    let mut command = store.podman_command(["system", "service", "--time=0", &url]);
    command.stdin(Stdio::null());
    command
}
