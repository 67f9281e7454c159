//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Serves Podman's libpod image API from a containers/storage store, and looks after the store
#[derive(Debug, Clone, Parser)]
#[command(name = "imaged", version, about, max_term_width = 100)]
#[command(after_help = "Every flag can also come from the environment variable shown beside it. \
    The store is shared: Podman, Buildah and Skopeo may use it at the same time.")]
pub struct Args {
    /// Directory of the store (graphroot) [default: as storage.conf says, else
    /// /var/lib/containers/storage, or ~/.local/share/containers/storage when not root]
    ///
    /// As with Podman, the driver options of storage.conf do not apply to a store named here: give
    /// them with --storage-opt.
    #[arg(long, value_name = "DIR", env = "IMAGED_ROOT", value_parser = absolute())]
    pub root: Option<PathBuf>,

    /// Directory of the store's run-time state (runroot) [default: as storage.conf says, else
    /// /run/containers/storage, or $XDG_RUNTIME_DIR/containers when not root]
    #[arg(long, value_name = "DIR", env = "IMAGED_RUNROOT", value_parser = absolute())]
    pub runroot: Option<PathBuf>,

    /// Driver option, e.g. overlay.mountopt=nodev; may be repeated; replaces those of storage.conf
    /// (in the environment: several, separated by spaces)
    #[arg(long = "storage-opt", value_name = "KEY=VALUE", env = "IMAGED_STORAGE_OPT")]
    pub storage_opts: Vec<String>,

    /// What to log to standard error: error, warn, info, debug, trace, or directives such as
    /// info,imaged::storage=debug
    #[arg(long, value_name = "LEVEL", env = "IMAGED_LOG", default_value = "info")]
    pub log: String,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the API until stopped by SIGTERM or SIGINT
    Serve(ServeArgs),
    /// Say what is wrong with the store; no daemon is needed, and others may use the store meanwhile
    ///
    /// Nothing is changed. The exit status is 0 for a sound store, 1 if something was found, and 2 if
    /// that could not be told.
    Check(CheckArgs),
    /// Put right what is wrong with the store; without --apply only say what would be done
    ///
    /// What can be made again is made again: links, small files, data items that are there twice.
    /// What cannot be saved is removed: images whose layers or documents are missing or damaged, layers
    /// that cannot be used by anybody, what no record is about, and what dead processes left. Never
    /// removed are good layers and images, containers and what they need, and what living processes
    /// are working on. The exit status is 0 if the store is sound (with --apply: now), 1 if not, and 2 if
    /// that could not be told or done.
    Repair(RepairArgs),
}

/// Flags of `check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// How to look.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Flags of `repair`.
#[derive(Debug, Clone, clap::Args)]
pub struct RepairArgs {
    /// Do it
    #[arg(long)]
    pub apply: bool,

    /// Remove good layers, too, that no image and no container needs
    #[arg(long)]
    pub unused_layers: bool,

    /// How to look.
    #[command(flatten)]
    pub look: LookArgs,
}

/// What `check` and `repair` have in common.
#[derive(Debug, Clone, clap::Args)]
pub struct LookArgs {
    /// Read all contents, too: put together the tar of each layer and compare it, and every file of
    /// it, with the digests; compare manifests and configs with theirs
    #[arg(long)]
    pub read_data: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Layers without an image and directories of no known kind count only if they are older than
    /// this: they may be of somebody at work
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60)]
    pub grace: u64,
}

/// Flags of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on: unix:///path or tcp://127.0.0.1:PORT; may be repeated
    /// [default: the sockets passed by systemd, else /run/imaged/imaged.sock, or
    /// $XDG_RUNTIME_DIR/imaged/imaged.sock when not root] (in the environment: several, separated
    /// by spaces)
    #[arg(long, value_name = "ADDRESS", env = "IMAGED_LISTEN")]
    pub listen: Vec<String>,

    /// Permission bits of the Unix sockets, octal
    #[arg(long, value_name = "MODE", env = "IMAGED_SOCKET_MODE", default_value = "0600",
          value_parser = parse_mode)]
    pub socket_mode: u32,

    /// Exit after this many seconds without a connection; 0: never
    #[arg(long, value_name = "SECONDS", env = "IMAGED_IDLE_TIMEOUT", default_value_t = 0)]
    pub idle_timeout: u64,

    /// Connections served at the same time; when there are more, those without a request are closed
    /// for them
    #[arg(long, value_name = "NUMBER", env = "IMAGED_CONNECTIONS", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Break off a request whose client sends nothing more of its body, or reads nothing more of
    /// the answer, for this many seconds; 0: never. The time that this program and others take does
    /// not count
    #[arg(long, value_name = "SECONDS", env = "IMAGED_STALL_TIMEOUT", default_value_t = 120)]
    pub stall_timeout: u64,

    /// Before a layer counts as complete, write its file system back to disk, or do not
    /// [default: as storage.conf says, else filesystem]
    #[arg(long, value_name = "HOW", env = "IMAGED_SYNC")]
    pub sync: Option<SyncArg>,

    /// Longest body downloaded for an import (`images/import?url=`), in bytes or with k, m, g or t
    #[arg(long, value_name = "SIZE", env = "IMAGED_DOWNLOAD_LIMIT", default_value = "64g",
          value_parser = parse_size)]
    pub download_limit: u64,

    /// What is taken of an image.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// File that says which images may be used, instead of policy.json in ~/.config/containers or
    /// /etc/containers
    #[arg(long, value_name = "FILE", env = "IMAGED_SIGNATURE_POLICY", value_parser = absolute())]
    pub signature_policy: Option<PathBuf>,

    /// File for events, or none. To share them with `podman --tmpdir DIR`: DIR/events/events.log
    /// [default: as containers.conf says, which is where Podman has them; with --root or --runroot
    /// events/events.log in the runroot]
    #[arg(long, value_name = "PATH|none", env = "IMAGED_EVENTS_LOG", value_parser = parse_events_log)]
    pub events_log: Option<EventsLogArg>,

    /// Let --listen name TCP addresses other than loopback. There is no authentication and no
    /// encryption: whoever reaches the port owns the store
    #[arg(long, env = "IMAGED_ALLOW_UNAUTHENTICATED_TCP")]
    pub allow_unauthenticated_tcp: bool,
}

/// Flags that bound what one request may unpack. What is larger is refused with status 413.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct LimitArgs {
    /// Longest uncompressed layer, and longest sum of all layers of an image or archive, in bytes or
    /// with k, m, g or t
    #[arg(long, value_name = "SIZE", env = "IMAGED_UNPACKED_LIMIT", default_value = "1t",
          value_parser = parse_size)]
    pub unpacked_limit: u64,

    /// How many times larger than its compressed form a layer or archive may be, if it is longer
    /// than --expansion-free
    #[arg(long, value_name = "TIMES", env = "IMAGED_EXPANSION_LIMIT", default_value_t = 200)]
    pub expansion_limit: u64,

    /// Length up to which a layer or archive may be any number of times larger than its compressed
    /// form, in bytes or with k, m, g or t
    #[arg(long, value_name = "SIZE", env = "IMAGED_EXPANSION_FREE", default_value = "32g",
          value_parser = parse_size)]
    pub expansion_free: u64,

    /// Most files, directories and other entries of one layer
    #[arg(long, value_name = "NUMBER", env = "IMAGED_ENTRY_LIMIT", default_value_t = 4 << 20)]
    pub entry_limit: u32,
}

/// Values of `--sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SyncArg {
    /// One syncfs(2) for each image
    Filesystem,
    /// Leave it to the kernel: after a power cut, images may be incomplete
    None,
}

/// Values of `--events-log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsLogArg {
    /// An absolute path.
    File(PathBuf),
    /// Events are not logged.
    None,
}

impl Args {
    /// Reads a command line, the program's name first. Variables of the process stand in for
    /// flags that are absent. The error knows how to print itself, help and version included.
    pub fn read<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let from_environment = |matches: &clap::ArgMatches, id: &str| {
            matches.value_source(id) == Some(ValueSource::EnvVariable)
        };
        if from_environment(&matches, "storage_opts") {
            args.storage_opts = split(&args.storage_opts);
        }
        if let Command::Serve(serve) = &mut args.command
            && let Some(("serve", matches)) = matches.subcommand()
            && from_environment(matches, "listen")
        {
            serve.listen = split(&serve.listen);
        }
        Ok(args)
    }
}

/// A variable holds several values separated by white space: commas occur inside of them.
fn split(values: &[String]) -> Vec<String> {
    values.iter().flat_map(|value| value.split_whitespace()).map(str::to_owned).collect()
}

/// Relative directories are relative to where the program was started.
fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 't')) => (&lower[..at], 40),
        _ => (&lower[..], 0),
    };
    let whole = digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| whole);
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "not a number of bytes, such as 1048576, 512m or 64g".into())
}

fn parse_events_log(text: &str) -> Result<EventsLogArg, String> {
    match text {
        "none" => Ok(EventsLogArg::None),
        path => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            Ok(EventsLogArg::File(path))
        }
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not an octal file mode between 0 and 0777".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn reads_every_flag() {
        let args = Args::read([
            "imaged",
            "--root=/g",
            "--runroot=/r",
            "--storage-opt=overlay.mountopt=nodev,metacopy=on",
            "--storage-opt=ignore_chown_errors=true",
            "--log=debug",
            "serve",
            "--listen=unix:///s",
            "--listen=tcp://127.0.0.1:1",
            "--socket-mode=660",
            "--idle-timeout=5",
            "--connections=7",
            "--stall-timeout=9",
            "--sync=none",
            "--download-limit=10m",
            "--unpacked-limit=20g",
            "--expansion-limit=50",
            "--expansion-free=1g",
            "--entry-limit=1000",
            "--events-log=/e/log",
            "--signature-policy=/p.json",
            "--allow-unauthenticated-tcp",
        ])
        .unwrap();
        assert_eq!(args.root, Some("/g".into()));
        assert_eq!(args.runroot, Some("/r".into()));
        assert_eq!(
            args.storage_opts,
            ["overlay.mountopt=nodev,metacopy=on", "ignore_chown_errors=true"]
        );
        assert_eq!(args.log, "debug");
        let Command::Serve(serve) = args.command else { panic!("{:?}", args.command) };
        assert_eq!(serve.listen, ["unix:///s", "tcp://127.0.0.1:1"]);
        assert_eq!(serve.socket_mode, 0o660);
        assert_eq!(serve.idle_timeout, 5);
        assert_eq!((serve.connections, serve.stall_timeout), (7, 9));
        assert_eq!(serve.sync, Some(SyncArg::None));
        assert_eq!(serve.download_limit, 10 << 20);
        let limits = LimitArgs {
            unpacked_limit: 20 << 30,
            expansion_limit: 50,
            expansion_free: 1 << 30,
            entry_limit: 1000,
        };
        assert_eq!(serve.limits, limits);
        assert_eq!(serve.events_log, Some(EventsLogArg::File("/e/log".into())));
        assert_eq!(serve.signature_policy, Some("/p.json".into()));
        assert!(serve.allow_unauthenticated_tcp);
    }

    #[test]
    fn reads_how_to_look() {
        let args = Args::read(["imaged", "repair", "--apply", "--read-data", "--grace=7"]).unwrap();
        let Command::Repair(repair) = args.command else { panic!("{:?}", args.command) };
        assert!(repair.apply && repair.look.read_data && !repair.look.json);
        assert_eq!(repair.look.grace, 7);
        let args = Args::read(["imaged", "check", "--json"]).unwrap();
        let Command::Check(check) = args.command else { panic!("{:?}", args.command) };
        assert!(check.look.json && !check.look.read_data);
        assert_eq!(check.look.grace, 86_400);
        for words in [["imaged", "check", "--apply"], ["imaged", "repair", "--grace=soon"]] {
            assert!(Args::read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn modes() {
        for (text, mode) in [("0600", 0o600), ("660", 0o660), ("0o777", 0o777), ("0", 0)] {
            assert_eq!(parse_mode(text), Ok(mode), "{text}");
        }
        for text in ["", "0888", "1777", "rw", "-1"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [("0", 0), ("1k", 1024), ("2G", 2 << 30), ("15t", 15 << 40)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "k", "-1", "+1", "1.5g", "1gb", "99999999t", "ä"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for words in [
            &["imaged"][..],
            &["imaged", "run"],
            &["imaged", "serve", "extra"],
            &["imaged", "serve", "--sync=sometimes"],
            &["imaged", "serve", "--idle-timeout=soon"],
            &["imaged", "serve", "--connections=0"],
        ] {
            assert!(Args::read(words).is_err(), "{words:?}");
        }
    }
}
