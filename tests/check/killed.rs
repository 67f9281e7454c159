//! A repair that is killed: what it has not done, the next one does.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::scene::{BAD, GOOD, Scene};
use crate::support::tool::output;

/// Calls that change the store.
const CALLS: &[&str] = &["renameat", "unlinkat", "symlinkat", "mkdirat", "pwrite64", "fdatasync"];
/// Each of these times of a call one repair is killed, up to how often it occurs.
const TIMES: &[usize] = &[1, 2, 3, 5, 8, 13];

/// Damage of all kinds: what is made again, what is removed, and what dead writers have left.
fn damaged() -> Scene {
    let scene = Scene::new();
    let (top, base) = (scene.top(BAD), scene.base());
    fs::remove_file(scene.path(&format!("overlay-layers/{top}.tar-split.gz"))).unwrap();
    fs::remove_file(scene.path(&format!("overlay/l/{}", scene.link_of(&base)))).unwrap();
    fs::remove_file(scene.path(&format!("overlay/{}/lower", scene.top(GOOD)))).unwrap();
    scene.add_orphan();
    fs::create_dir_all(scene.path("overlay/tempdirs/temp-dir-7/0-addition")).unwrap();
    fs::write(scene.path("overlay/tempdirs/lock-7"), "").unwrap();
    fs::create_dir_all(scene.path("overlay/staging/123/dir")).unwrap();
    fs::write(scene.path("overlay/staging/123/staging.lock"), "").unwrap();
    scene
}

#[test]
fn anywhere() {
    let mut killed = 0;
    for call in CALLS {
        for time in TIMES {
            let scene = damaged();
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null"]);
            command.args(["-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={time}")]);
            command.arg(env!("CARGO_BIN_EXE_imaged")).arg("--root").arg(scene.store.root());
            command.arg("--runroot").arg(scene.store.runroot()).args(["repair", "--apply"]);
            let ended = output(&mut command);
            if ended.status.success() {
                // There are not so many.
                break;
            }
            killed += 1;
            let what = format!("killed at {call} number {time}");
            let images = scene.store.records("overlay-images/images.json");
            let is_good = |image: &serde_json::Value| image["names"] == json!([GOOD]);
            assert!(images.iter().any(is_good), "{what}: the good image is gone");
            let done = scene.run(&["repair", "--apply", "--read-data"]);
            assert_eq!(
                (done.status, &done.json["failed"]),
                (0, &json!([])),
                "{what}: {}",
                done.json
            );
            assert_eq!(scene.independent(), Vec::<String>::new(), "{what}");
            scene.assert_good();
        }
    }
    assert!(killed > 15, "killed only {killed} times");
}
