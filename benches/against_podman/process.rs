//! What the kernel knows of a server process: memory and processor time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Resident memory of the process in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// Processor time of all living threads in nanoseconds.
pub(crate) fn processor_time(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Runs `action` and returns the most memory the process and its children had meanwhile: the
/// kernel's high-water mark of the process, or the sum over all of them if that was larger.
pub(crate) fn peak<R>(pid: u32, action: impl FnOnce() -> R) -> (R, u64) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(family(pid).into_iter().map(resident).sum());
                thread::sleep(Duration::from_millis(10));
            }
            most
        });
        let result = action();
        let mark = status(pid, "VmHWM:");
        done.store(true, Ordering::Relaxed);
        (result, mark.max(sampler.join().unwrap()))
    })
}

/// The process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { break };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    members
}

fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
    kibibytes * 1024
}
