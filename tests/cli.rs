//! The program from outside: flags, environment, start errors.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{self, Output};

use imaged::config::{Args, Command};
use imaged::layer::Limits;

fn imaged(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    process::Command::new(env!("CARGO_BIN_EXE_imaged"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn standard_error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_explains_every_flag() {
    let top = String::from_utf8(imaged(&["--help"], &[]).stdout).unwrap();
    let serve = String::from_utf8(imaged(&["serve", "--help"], &[]).stdout).unwrap();
    let check = String::from_utf8(imaged(&["check", "--help"], &[]).stdout).unwrap();
    let repair = String::from_utf8(imaged(&["repair", "--help"], &[]).stdout).unwrap();
    for flag in ["--read-data", "--json", "--grace <SECONDS>"] {
        assert!(check.contains(flag) && repair.contains(flag), "{flag}: {check}{repair}");
    }
    assert!(repair.contains("--apply") && repair.contains("--unused-layers"), "{repair}");
    for (text, flag, variable) in [
        (&top, "--root <DIR>", "IMAGED_ROOT"),
        (&top, "--runroot <DIR>", "IMAGED_RUNROOT"),
        (&top, "--storage-opt <KEY=VALUE>", "IMAGED_STORAGE_OPT"),
        (&top, "--log <LEVEL>", "IMAGED_LOG"),
        (&serve, "--listen <ADDRESS>", "IMAGED_LISTEN"),
        (&serve, "--socket-mode <MODE>", "IMAGED_SOCKET_MODE"),
        (&serve, "--idle-timeout <SECONDS>", "IMAGED_IDLE_TIMEOUT"),
        (&serve, "--connections <NUMBER>", "IMAGED_CONNECTIONS"),
        (&serve, "--stall-timeout <SECONDS>", "IMAGED_STALL_TIMEOUT"),
        (&serve, "--sync <HOW>", "IMAGED_SYNC"),
        (&serve, "--download-limit <SIZE>", "IMAGED_DOWNLOAD_LIMIT"),
        (&serve, "--unpacked-limit <SIZE>", "IMAGED_UNPACKED_LIMIT"),
        (&serve, "--expansion-limit <TIMES>", "IMAGED_EXPANSION_LIMIT"),
        (&serve, "--expansion-free <SIZE>", "IMAGED_EXPANSION_FREE"),
        (&serve, "--entry-limit <NUMBER>", "IMAGED_ENTRY_LIMIT"),
        (&serve, "--events-log <PATH|none>", "IMAGED_EVENTS_LOG"),
        (&serve, "--allow-unauthenticated-tcp", "IMAGED_ALLOW_UNAUTHENTICATED_TCP"),
    ] {
        assert!(text.contains(flag), "{flag}: {text}");
        assert!(text.contains(&format!("[env: {variable}=]")), "{variable}: {text}");
    }
}

/// What `serve --help` shows is what the library takes for sane.
#[test]
fn the_documented_limits_are_those_of_the_library() {
    let args = Args::read(["imaged", "serve"]).unwrap();
    let Command::Serve(serve) = args.command else { panic!("{:?}", args.command) };
    let limits = Limits::default();
    assert_eq!(serve.limits.unpacked_limit, limits.unpacked);
    assert_eq!(serve.limits.expansion_limit, limits.expansion.ratio);
    assert_eq!(serve.limits.expansion_free, limits.expansion.free);
    assert_eq!(serve.limits.entry_limit, limits.entries);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&[][..], &["serve", "--sync=often"], &["--colour", "serve"]] {
        assert_eq!(imaged(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_start_error_is_one_line_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (root, socket) = (at("root"), format!("unix://{}", at("socket")));
    let conf = at("storage.conf");
    std::fs::write(&conf, "[storage]\ndriver = 'vfs'\n").unwrap();
    let torn = at("torn.conf");
    std::fs::write(&torn, "[storage]\ndriver = 'overlay\n").unwrap();

    for (arguments, variables, message) in [
        (
            vec!["serve"],
            vec![("CONTAINERS_STORAGE_CONF", conf.as_str())],
            format!("storage driver \"vfs\" (in {conf}) is not supported, only \"overlay\" is"),
        ),
        (
            vec!["serve"],
            vec![("CONTAINERS_STORAGE_CONF", torn.as_str())],
            format!("{torn}:2: invalid literal string, expected `'`"),
        ),
        (
            vec!["serve", "--listen=tcp://0.0.0.0:1"],
            vec![],
            "0.0.0.0:1 is not a loopback address: anyone who reaches it would own the store, as \
             requests are not authenticated (--allow-unauthenticated-tcp permits it)"
                .to_owned(),
        ),
        // Several values of one variable are separated by spaces.
        (
            vec!["serve"],
            vec![("IMAGED_STORAGE_OPT", "overlay.mountopt=a,b overlay.colour=red")],
            "storage option \"overlay.colour=red\": unknown option".to_owned(),
        ),
        (
            vec!["serve"],
            vec![("IMAGED_LISTEN", "tcp://127.0.0.1:0 carrier-pigeon")],
            "address \"carrier-pigeon\" is neither unix:///path nor tcp://IP:PORT".to_owned(),
        ),
        (
            vec!["--log=loud", "serve"],
            vec![],
            "--log \"loud\" is neither a level nor directives".to_owned(),
        ),
    ] {
        let mut all = vec!["--root", root.as_str(), "--runroot", root.as_str()];
        if !arguments.iter().any(|word| word.starts_with("--listen"))
            && !variables.iter().any(|(name, _)| *name == "IMAGED_LISTEN")
        {
            all.extend(&arguments);
            all.extend(["--listen", socket.as_str()]);
        } else {
            all.extend(&arguments);
        }
        let output = imaged(&all, &variables);
        let said = standard_error(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("imaged: {message}")), "{said:?} {message:?}");
        assert_eq!(said.matches('\n').count(), 1, "{said:?}");
        assert!(!Path::new(&root).exists());
    }
}
