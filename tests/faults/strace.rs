//! Faults at system calls of a running process.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::server::PATIENCE;

/// The calls that change directories, files or their attributes, or bring them to the disk.
pub(crate) const CHANGES: &str = "openat,openat2,mkdir,mkdirat,mknodat,symlinkat,linkat,rename,\
    renameat,renameat2,unlink,unlinkat,rmdir,write,writev,pwrite64,copy_file_range,sendfile,\
    fallocate,ftruncate,fchmod,fchmodat,fchown,fchownat,utimensat,setxattr,lsetxattr,fsetxattr,\
    fsync,fdatasync,syncfs";

/// The calls that only work on the store makes. Sockets and the runtime's own wake-ups are written
/// to with others, so full disks stand for `write`.
pub(crate) const OWN: &str = "openat,openat2,mkdir,mkdirat,mknodat,symlinkat,linkat,renameat,\
    renameat2,unlinkat,pwrite64,copy_file_range,fallocate,ftruncate,fchmod,fchmodat,fchown,fchownat,\
    utimensat,setxattr,lsetxattr,fsetxattr,fsync,fdatasync,syncfs";

/// A tracer attached to all threads of a process, and to those that they start.
pub(crate) struct Tracer(Child);

/// One call of a process: the `number`-th, from 1, that a thread makes of this name. That is how
/// `strace` counts.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    name: String,
    number: usize,
}

impl Call {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What `strace` is told to let `fault` happen at this call.
    pub(crate) fn injection(&self, fault: &str) -> String {
        let Self { name, number } = self;
        format!("inject={name}:{fault}:when={number}")
    }
}

impl Tracer {
    /// Kills the process when one of its threads makes this call.
    pub(crate) fn kill(pid: u32, call: &Call) -> Self {
        Self::inject(pid, call, "signal=KILL")
    }

    /// Lets this call of each thread fail with `error`.
    pub(crate) fn fail(pid: u32, call: &Call, error: &str) -> Self {
        Self::inject(pid, call, &format!("error={error}"))
    }

    fn inject(pid: u32, call: &Call, fault: &str) -> Self {
        Self::attach(pid, &call.name, &["-e", &call.injection(fault)])
    }

    /// Only writes the calls to `log`.
    pub(crate) fn watch(pid: u32, calls: &str, log: &Path) -> Self {
        Self::attach(pid, calls, &["-o", log.to_str().unwrap()])
    }

    fn attach(pid: u32, calls: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tracer = Self(command.spawn().expect("strace"));
        let start = Instant::now();
        while !all_traced(pid) {
            assert!(tracer.0.try_wait().unwrap().is_none(), "strace has ended");
            assert!(start.elapsed() < PATIENCE, "strace does not attach");
            std::thread::yield_now();
        }
        tracer
    }

    /// Lets go of the process, or waits for its end to be seen.
    pub(crate) fn detach(mut self) {
        let _ended = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        self.0.wait().unwrap();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Fails only when it has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn all_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().path().join("status")).all(|status| {
        // A thread may end meanwhile.
        let status = fs::read_to_string(status).unwrap_or_default();
        !status.lines().any(|line| line == "TracerPid:\t0")
    })
}

/// The calls in a log of [`Tracer::watch`] of which `wanted` says so.
pub(crate) fn calls(log: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Call> {
    let mut threads = HashMap::<(String, String), usize>::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        // Not what a signal brings, nor the second half of a call that another thread's interrupted.
        if let Some((thread, call)) = line.split_once(' ')
            && let Some((name, _)) = call.trim_start().split_once('(')
            && wanted(name)
        {
            *threads.entry((thread.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    let mut names = BTreeMap::<String, usize>::new();
    for ((_, name), count) in threads {
        let most = names.entry(name).or_default();
        *most = count.max(*most);
    }
    let all = |(name, count): (String, usize)| {
        (1..=count).map(move |number| Call { name: name.clone(), number })
    };
    names.into_iter().flat_map(all).collect()
}
