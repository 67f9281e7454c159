//! Recovery is killed too, or fails: whoever comes next finishes it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::operation::Operation;
use crate::scene::Scene;
use crate::strace::{CHANGES, Call, OWN, Tracer, calls};
use crate::support::check::check;
use crate::support::server::{PATIENCE, imaged};
use crate::support::soak::{figure, soaking};
use crate::support::{Client, Server, Store};

/// Points that `make test` tries of each recovery with each of the faults.
const POINTS: usize = 4;
/// What happens, and at which calls.
const FAULTS: [(&str, &str); 3] =
    [("signal=KILL", CHANGES), ("error=ENOSPC", OWN), ("error=EIO", OWN)];

fn recovering(operation: Operation) {
    let scene = Scene::new(operation, CHANGES);
    let left = leftovers(&scene);
    let mut rounds = 0;
    for (fault, names) in FAULTS {
        let points = rehearse(&left, names);
        let count = if soaking() { points.len() } else { POINTS };
        for index in 0..count {
            // From the end of each part, where more has happened.
            let point = &points[(index + 1) * points.len() / count - 1];
            let what = format!("recovery from {operation:?} with {fault} at {point:?}");
            let store = Store::copy_of(&left);
            start(&store, &["-e", &point.injection(fault), "-o", "/dev/null"]);
            scene.judge(&store, &what);
            rounds += 1;
        }
    }
    let measured = format!("recovery from {}: points, all passed", operation.title());
    figure("killed anywhere", &measured, &rounds.to_string());
}

/// What is left when the daemon dies at the worst moment: there are layers that only its word tells
/// of.
fn leftovers(scene: &Scene) -> Store {
    // What becomes visible does so with a new name.
    for point in scene.points(0).into_iter().filter(|call| call.name() == "renameat") {
        let store = scene.store();
        let server = Server::start(&store);
        let tracer = Tracer::kill(server.pid(), point);
        let _answer = scene.run(&server.client());
        server.kill();
        tracer.detach();
        let problems = check(&store.root(), &store.runroot());
        if problems.iter().any(|problem| problem.ends_with("nobody needs it")) {
            return store;
        }
    }
    panic!("there is no such moment");
}

/// What a daemon calls of these that starts on this.
fn rehearse(left: &Store, names: &str) -> Vec<Call> {
    let store = Store::copy_of(left);
    let log = store.path("calls");
    start(&store, &["-e", &format!("trace={names}"), "-o", log.to_str().unwrap()]);
    let calls = calls(&log, |name| names.split(',').any(|it| it.trim() == name));
    println!("{} calls", calls.len());
    calls
}

/// Starts the daemon under `strace` with these arguments, and kills it as soon as it answers, if it
/// does.
fn start(store: &Store, arguments: &[&str]) {
    let socket = store.path("api.sock");
    let daemon = imaged(store, &socket);
    let mut command = Command::new("strace");
    // In the background, so that the daemon is our child.
    command.args(["-D", "-f", "-qq"]).args(arguments);
    command.arg(daemon.get_program()).args(daemon.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Killed(command.spawn().expect("strace"));
    let client = Client::new(&socket);
    let begun = Instant::now();
    while daemon.0.try_wait().unwrap().is_none() && client.try_get("/_ping").is_err() {
        assert!(begun.elapsed() < PATIENCE, "the daemon neither starts nor ends: {arguments:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only when it has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn from_a_load() {
    recovering(Operation::LoadDocker);
}

#[test]
fn from_a_removal() {
    recovering(Operation::Remove);
}
