//! The program `imaged`: arguments, log, user namespace, then the runtime and the server.
//!
//! The order matters: the user namespace can only be entered while there is one thread, so all of
//! configuration, which is read with the user's eyes, comes before it, and the runtime after.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use imaged::api::{Api, Settings};
use imaged::cli::{self, Outcome};
use imaged::config::{
    self, Args, Command, Config, EventsConfig, Host, LimitArgs, Listen, ServeConfig, StorageConfig,
};
use imaged::container;
use imaged::engine::local::{self, EventBackend, LocalEngine};
use imaged::events::EventLog;
use imaged::server::{self, Address, Listeners, Shutdown};
use imaged::storage::{OverlayOptions, Store, StoreOptions, SyncMode};
use imaged::sys::Cancel;
use imaged::sys::namespace::{self, User};
use imaged::sys::{confine, memory};
use imaged::task::Tasks;
use rustix::process::{Resource, Rlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Threads for what the client of other servers cannot do without: names and certificates. Not
/// shared with the work that waits for it.
const RESOLVERS: usize = 4;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match start(&args) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to be told when standard error is closed.
            drop(writeln!(std::io::stderr(), "imaged: {}", chain(&*error)));
            match args.command {
                Command::Serve(_) => ExitCode::FAILURE,
                // 1 is for a store that is not sound.
                Command::Check(_) | Command::Repair(_) => ExitCode::from(2),
            }
        }
    }
}

/// Everything that needs a single thread; then what was asked for.
fn start(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    // Files are created with exactly the modes that the store's format asks for.
    rustix::process::umask(rustix::fs::Mode::empty());
    memory::share_arenas();
    raise_descriptor_limit();
    init_log(&args.log)?;

    let user = User::of_process(|name| std::env::var_os(name));
    let host = Host::new(std::env::vars_os(), user.uid, user.rootless, user.home.clone());
    match &args.command {
        Command::Serve(flags) => {
            let config = Config::load(args, flags, &host)?;
            enter_namespace(&user, &host, &config.storage)?;
            let Config { storage, events, serve: server, .. } = &config;
            tracing::debug!(?storage, ?events, serve = ?server, "configuration");
            serve(config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(flags) => {
            let storage = StorageConfig::load(args, &host)?;
            enter_namespace(&user, &host, &storage)?;
            Ok(status(cli::check(&store_options(storage), flags)?))
        }
        Command::Repair(flags) => {
            let storage = StorageConfig::load(args, &host)?;
            enter_namespace(&user, &host, &storage)?;
            Ok(status(cli::repair(&store_options(storage), flags)?))
        }
    }
}

/// Becomes the root of the user's namespace, to whom the files of the store belong.
fn enter_namespace(
    user: &User,
    host: &Host,
    storage: &StorageConfig,
) -> Result<(), Box<dyn Error>> {
    let namespace = namespace::enter(user, &host.runtime_dir())?;
    namespace::check_owner(&storage.graph_root)?;
    let users = namespace::mapped_users()?;
    tracing::debug!(?namespace, users, "user namespace");
    if users == 1 && !storage.overlay.ignore_chown_errors {
        tracing::warn!(
            user = user.uid,
            "no subordinate IDs are mapped: images with files of several users cannot be stored \
             (see /etc/subuid, or --storage-opt overlay.ignore_chown_errors=true)"
        );
    }
    Ok(())
}

fn status(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Sound => ExitCode::SUCCESS,
        Outcome::Findings => ExitCode::from(1),
    }
}

/// Opens the store and serves it until asked to stop.
fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let Config { storage, events, short_names, registry, limits, serve } = config;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Nothing can cancel this yet: until the server installs its own, signals end the process.
    let store = Store::open(limited(store_options(storage), limits), &Cancel::new())?;
    if confine::is_supported() {
        tracing::debug!("layers are unpacked by threads that reach nothing else (Landlock)");
    } else {
        tracing::info!(
            "the kernel has no Landlock, or one from before Linux 5.19: threads that unpack layers \
             are not confined to them"
        );
    }
    container::thaw_abandoned(&store.options().run_root);
    let tasks = Tasks::new(cores);
    let mut options = local::Options::default();
    options.short_names = short_names;
    options.registry.registries = registry.registries;
    options.registry.registries_conf = registry.registries_conf;
    options.registry.auth_files = registry.auth_files;
    options.registry.certs_directories = registry.certs_directories;
    options.registry.policy = registry.policy;
    options.registry.download_limit = registry.download_limit;
    options.registry.docker_host = registry.docker_host;
    options.events = event_backend(events);
    let engine = LocalEngine::new(store, options, tasks.clone());

    let runtime = tokio::runtime::Builder::new_multi_thread()
        // They only move bytes; the work is on blocking threads.
        .worker_threads(cores.clamp(2, 4))
        .max_blocking_threads(Tasks::threads(cores) + RESOLVERS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let (stopping, events) = (shutdown.clone(), engine.clone());
        // As long as the process, like the signals.
        drop(tokio::spawn(async move {
            stopping.stopping().await;
            events.end_open_ends();
        }));
        let listeners = listen(&serve)?;
        let mut settings = Settings::default();
        settings.remote_socket = listeners
            .addresses()
            .into_iter()
            .find(|address| matches!(address, Address::Unix(_)))
            .map(|address| address.to_string());
        settings.user = Some(rustix::process::geteuid().as_raw());
        let mut options = server::Options::default();
        options.idle_timeout = serve.idle_timeout;
        options.stall_timeout = serve.stall_timeout;
        options.connections = usize::try_from(serve.connections)?;
        let api = Api::new(Arc::new(engine), settings);
        server::serve(listeners, api, options, shutdown).await;
        // The connections are gone, and with them the wish for what was under way.
        tasks.stop().await;
        Ok(())
    })
}

fn listen(serve: &ServeConfig) -> Result<Listeners, server::Error> {
    if serve.listen.is_empty() {
        if let Some(passed) = Listeners::passed()? {
            return Ok(passed);
        }
        let address = Address::Unix(serve.default_socket.clone());
        return Listeners::bind(&[address], serve.socket_mode);
    }
    let addresses: Vec<Address> = serve
        .listen
        .iter()
        .map(|listen| match listen {
            Listen::Unix(path) => Address::Unix(path.clone()),
            Listen::Tcp(address) => Address::Tcp(*address),
        })
        .collect();
    Listeners::bind(&addresses, serve.socket_mode)
}

fn event_backend(events: EventsConfig) -> EventBackend {
    match events {
        EventsConfig::File { path, max_bytes } => {
            EventBackend::File(EventLog::new(path, max_bytes))
        }
        EventsConfig::Journald => {
            tracing::info!(
                "Podman logs events to the journal, which is not written here: clients of this \
                 program see its own events as they happen (see --events-log)"
            );
            EventBackend::Live
        }
        EventsConfig::None => EventBackend::None,
    }
}

fn store_options(storage: StorageConfig) -> StoreOptions {
    let overlay = storage.overlay;
    StoreOptions {
        driver: "overlay".into(),
        graph_root: storage.graph_root,
        run_root: storage.run_root,
        additional_image_stores: storage.additional_image_stores,
        image_store: storage.image_store,
        transient: storage.transient,
        sync: match overlay.sync {
            config::Sync::Filesystem => SyncMode::Filesystem,
            config::Sync::None => SyncMode::None,
        },
        overlay: OverlayOptions {
            mount_program: overlay.mount_program,
            ignore_chown_errors: overlay.ignore_chown_errors,
            force_mask: overlay.force_mask.map(|config::ForceMask(mode)| format!("{mode:o}")),
            use_composefs: overlay.use_composefs,
            mountopt: overlay.mount_options,
        },
        limits: Default::default(),
    }
}

fn limited(mut options: StoreOptions, limits: LimitArgs) -> StoreOptions {
    options.limits.unpacked = limits.unpacked_limit;
    options.limits.expansion.ratio = limits.expansion_limit;
    options.limits.expansion.free = limits.expansion_free;
    options.limits.entries = limits.entry_limit;
    options
}

/// Layers are read and written with a descriptor for each directory on the way; the usual soft
/// limit of 1024 is for programs that use select(2).
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    // A limit that cannot be raised is still a limit one can work under.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn init_log(level: &str) -> Result<(), Box<dyn Error>> {
    // A lone word that is no level would be taken for a module, and silence all others.
    let word = !level.contains('=');
    if word && level.parse::<LevelFilter>().is_err() {
        return Err(format!("--log {level:?} is neither a level nor directives").into());
    }
    let filter = EnvFilter::try_new(level)
        .map_err(|error| format!("--log {level:?} is neither a level nor directives: {error}"))?;
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// The messages of an error and its sources, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
