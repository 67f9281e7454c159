//! Tables for the lookup of `storage.conf`.

use super::*;

/// A file system, an environment and a command line, and what comes of them. `ROOT` stands for the
/// temporary directory that holds the file system.
struct Case<'a> {
    rootless: bool,
    files: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

const ROOTFUL: Case<'_> = Case { rootless: false, files: &[], variables: &[], flags: &[] };
const ROOTLESS: Case<'_> = Case { rootless: true, ..ROOTFUL };

impl Case<'_> {
    fn load(&self) -> Result<StorageConfig, String> {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().canonicalize().unwrap();
        let here = here.to_str().unwrap();
        let place = |text: &str| text.replace("ROOT", here);
        for (path, text) in self.files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, place(text)).unwrap();
        }
        let variables =
            self.variables.iter().map(|(name, value)| (name.into(), place(value).into()));
        let home = Some(Path::new(here).join("home"));
        let host = Host::new(variables, 1000, self.rootless, home).with_system_root(here);
        let flags = self.flags.iter().map(|flag| place(flag));
        let args = Args::read(
            std::iter::once("imaged".to_owned()).chain(flags).chain(["serve".to_owned()]),
        )
        .unwrap();
        let unplace = |path: PathBuf| PathBuf::from(path.to_str().unwrap().replace(here, "ROOT"));
        match load(&args, &host) {
            Ok(config) => Ok(StorageConfig {
                graph_root: unplace(config.graph_root),
                run_root: unplace(config.run_root),
                image_store: config.image_store.map(unplace),
                additional_image_stores: config
                    .additional_image_stores
                    .into_iter()
                    .map(unplace)
                    .collect(),
                ..config
            }),
            Err(error) => Err(error.to_string().replace(here, "ROOT")),
        }
    }

    fn roots(&self) -> (String, String) {
        let config = self.load().unwrap();
        (
            config.graph_root.to_string_lossy().into_owned(),
            config.run_root.to_string_lossy().into_owned(),
        )
    }
}

const ETC: &str = "etc/containers/storage.conf";
const USR: &str = "usr/share/containers/storage.conf";
const USER: &str = "home/.config/containers/storage.conf";
const SYSTEM_TEXT: &str = "[storage]\ndriver='overlay'\ngraphroot='/sys/g'\nrunroot='/sys/r'";

#[test]
fn roots_of_the_system() {
    let default = ("ROOT/var/lib/containers/storage", "ROOT/run/containers/storage");
    for (case, (graph, run)) in [
        (ROOTFUL, default),
        (Case { files: &[(USR, SYSTEM_TEXT)], ..ROOTFUL }, ("/sys/g", "/sys/r")),
        (
            Case { files: &[(USR, SYSTEM_TEXT), (ETC, "[storage]\ngraphroot='/e'")], ..ROOTFUL },
            ("/e", default.1),
        ),
        // Root's home directory does not count, unless named.
        (Case { files: &[(USER, "[storage]\ngraphroot='/u'")], ..ROOTFUL }, default),
        (
            Case {
                files: &[(USER, "[storage]\ngraphroot='/u'"), (ETC, SYSTEM_TEXT)],
                variables: &[("XDG_CONFIG_HOME", "ROOT/home/.config")],
                ..ROOTFUL
            },
            ("/u", default.1),
        ),
        (Case { files: &[(ETC, "[storage]\nrootless_storage_path='/x'")], ..ROOTFUL }, default),
        (
            Case { files: &[(ETC, SYSTEM_TEXT)], flags: &["--root=/f/g"], ..ROOTFUL },
            ("/f/g", "/sys/r"),
        ),
        (
            Case { files: &[(ETC, SYSTEM_TEXT)], flags: &["--runroot=/f/r"], ..ROOTFUL },
            ("/sys/g", "/f/r"),
        ),
        (
            Case {
                files: &[(ETC, "[storage]\ngraphroot='$BASE/${N}/$UID'")],
                variables: &[("BASE", "/b"), ("N", "n")],
                ..ROOTFUL
            },
            ("/b/n/1000", default.1),
        ),
    ] {
        assert_eq!(case.roots(), (graph.into(), run.into()), "{:?}", case.files);
    }
}

#[test]
fn roots_of_a_user() {
    let graph = "ROOT/home/.local/share/containers/storage";
    let run = "ROOT/tmp/podman-run-1000/containers";
    for (case, expected) in [
        (ROOTLESS, (graph, run)),
        (
            Case { variables: &[("XDG_DATA_HOME", "/d"), ("XDG_RUNTIME_DIR", "/x")], ..ROOTLESS },
            ("/d/containers/storage", "/x/containers"),
        ),
        // A file written for root does not decide where a user's store is…
        (Case { files: &[(USR, SYSTEM_TEXT)], ..ROOTLESS }, (graph, run)),
        (
            Case { files: &[("etc/containers/storage.conf.d/1.conf", SYSTEM_TEXT)], ..ROOTLESS },
            (graph, run),
        ),
        // …but files and keys for rootless users do.
        (
            Case {
                files: &[("etc/containers/storage.rootless.conf.d/1.conf", SYSTEM_TEXT)],
                ..ROOTLESS
            },
            ("/sys/g", "/sys/r"),
        ),
        (
            Case {
                files: &[
                    (
                        "etc/containers/storage.rootless.conf.d/1000/1.conf",
                        "[storage]\nrunroot='/mine'",
                    ),
                    ("etc/containers/storage.rootless.conf.d/1.conf", SYSTEM_TEXT),
                ],
                ..ROOTLESS
            },
            (graph, "/mine"),
        ),
        (
            Case {
                files: &[(ETC, "[storage]\ngraphroot='/g'\nrootless_storage_path='/r/$UID'")],
                ..ROOTLESS
            },
            ("/r/1000", run),
        ),
        (
            Case {
                files: &[(ETC, SYSTEM_TEXT), (USER, "[storage]\ngraphroot='$HOME/s'")],
                ..ROOTLESS
            },
            ("ROOT/home/s", run),
        ),
        (
            Case {
                files: &[(USER, "[storage]\ngraphroot='/u'"), ("x.conf", SYSTEM_TEXT)],
                variables: &[("CONTAINERS_STORAGE_CONF", "ROOT/x.conf")],
                ..ROOTLESS
            },
            ("/sys/g", "/sys/r"),
        ),
    ] {
        assert_eq!(case.roots(), (expected.0.into(), expected.1.into()), "{:?}", case.files);
    }
}

#[test]
fn drop_ins_come_after_the_main_file_and_the_override_last() {
    let files = &[
        (ETC, "[storage]\ngraphroot='/main'\n[storage.options]\nadditionalimagestores=['/a']"),
        ("etc/containers/storage.conf.d/20.conf", "[storage]\ngraphroot='/20'"),
        ("usr/share/containers/storage.conf.d/10.conf", "[storage]\ngraphroot='/10'\nrunroot='/r'"),
        ("usr/share/containers/storage.conf.d/20.conf", "[storage]\ngraphroot='/hidden'"),
        (
            "etc/containers/storage.rootful.conf.d/30.conf",
            "[storage.options]\nadditionalimagestores=['/b',{append=true}]",
        ),
        ("over.conf", "[storage]\nrunroot='/over'"),
    ];
    let config = Case {
        files,
        variables: &[("CONTAINERS_STORAGE_CONF_OVERRIDE", "ROOT/over.conf")],
        ..ROOTFUL
    }
    .load()
    .unwrap();
    assert_eq!(config.graph_root, Path::new("/20"));
    assert_eq!(config.run_root, Path::new("/over"));
    assert_eq!(config.additional_image_stores, [Path::new("/a"), Path::new("/b")]);
}

#[test]
fn driver_options() {
    let text = "[storage]\ntransient_store=true\nimagestore='/i'\n[storage.options]\n\
                additionalimagestores=['/a']\nmountopt='old'\nignore_chown_errors='true'\n\
                pull_options={enable_partial_images='false'}\nsize=''\n\
                [storage.options.overlay]\nmountopt='nodev'\nmount_program='/bin/f'\n\
                force_mask='shared'\nsync='none'\nuse_composefs='true'";
    let from_file = Case { files: &[(ETC, text)], ..ROOTFUL };
    let config = from_file.load().unwrap();
    assert_eq!(
        config.overlay,
        OverlayConfig {
            mount_program: Some("/bin/f".into()),
            ignore_chown_errors: true,
            force_mask: Some(ForceMask(0o755)),
            use_composefs: true,
            mount_options: "nodev".into(),
            sync: Sync::None,
        }
    );
    assert_eq!(config.additional_image_stores, [Path::new("/a")]);
    assert_eq!(config.image_store, Some("/i".into()));
    assert!(config.transient);

    // A store named by flag starts from nothing; variables and flags replace everything.
    let config = Case { flags: &["--root=/g"], ..from_file }.load().unwrap();
    assert_eq!(config.overlay, OverlayConfig::default());
    assert_eq!(config.additional_image_stores, [] as [PathBuf; 0]);
    assert_eq!(config.image_store, None);

    let variables = &[("STORAGE_OPTS", "overlay.force_mask=700,.mountopt=x,size=1")];
    let config = Case { variables, ..from_file }.load().unwrap();
    assert_eq!(
        config.overlay,
        OverlayConfig {
            force_mask: Some(ForceMask(0o700)),
            mount_options: "x".into(),
            ..OverlayConfig::default()
        }
    );
    let flags = &[
        "--root=/g",
        "--storage-opt=overlay2.mountopt=nodev,metacopy=on",
        "--storage-opt=overlay.imagestore=/a,/b",
    ];
    let config = Case { variables, flags, ..from_file }.load().unwrap();
    assert_eq!(config.overlay.mount_options, "nodev,metacopy=on");
    assert_eq!(config.overlay.force_mask, None);
    assert_eq!(config.additional_image_stores, [Path::new("/a"), Path::new("/b")]);
}

#[test]
fn what_is_refused() {
    for (case, message) in [
        (
            Case { files: &[(ETC, "[storage]\ndriver='vfs'")], ..ROOTFUL },
            "storage driver \"vfs\" (in ROOT/etc/containers/storage.conf) is not supported, \
             only \"overlay\" is",
        ),
        (
            Case { variables: &[("STORAGE_DRIVER", "btrfs")], ..ROOTLESS },
            "storage driver \"btrfs\" (in STORAGE_DRIVER) is not supported, only \"overlay\" is",
        ),
        (
            Case { files: &[(ETC, "[storage]\n\ngraphroot=/x")], ..ROOTFUL },
            "ROOT/etc/containers/storage.conf:3: ",
        ),
        (
            Case { files: &[(ETC, "[storage]\ngraphroot=7")], ..ROOTFUL },
            "ROOT/etc/containers/storage.conf:2: invalid type: integer `7`, expected a string",
        ),
        (
            Case { files: &[(ETC, "[storage]\ngraphroot='x/y'")], ..ROOTFUL },
            "graphroot must be an absolute path, not \"x/y\"",
        ),
        (
            Case { variables: &[("CONTAINERS_STORAGE_CONF", "ROOT/none")], ..ROOTFUL },
            "reading ROOT/none",
        ),
        (
            Case { variables: &[("CONTAINERS_STORAGE_CONF_OVERRIDE", "ROOT/none")], ..ROOTFUL },
            "reading ROOT/none",
        ),
        (
            Case { flags: &["--storage-opt=overlay.colour=red"], ..ROOTFUL },
            "storage option \"overlay.colour=red\": unknown option",
        ),
        (
            Case { flags: &["--storage-opt=mountopt"], ..ROOTFUL },
            "storage option \"mountopt\": not of the form KEY=VALUE",
        ),
        (
            Case { flags: &["--storage-opt=ignore_chown_errors=yes"], ..ROOTFUL },
            "storage option \"ignore_chown_errors=yes\": not a boolean",
        ),
        (
            Case { flags: &["--storage-opt=overlay.additionallayerstore=/a"], ..ROOTFUL },
            "storage option \"overlay.additionallayerstore=/a\": additional layer stores are not \
             supported",
        ),
        (
            Case { flags: &["--storage-opt=overlay.imagestore=a"], ..ROOTFUL },
            "storage option \"overlay.imagestore=a\": not an absolute path",
        ),
        (
            Case { flags: &["--storage-opt=force_mask=rwx"], ..ROOTFUL },
            "storage option \"force_mask=rwx\": neither \"shared\" nor \"private\" nor an octal \
             file mode",
        ),
    ] {
        let error = case.load().unwrap_err();
        assert!(error.starts_with(message) && !error.contains('\n'), "{error:?} {message:?}");
    }
}
