//! What changes nothing.

use futures_util::TryStreamExt;
use podman_api::opts::{
    ChangesOpts, DiffType, EventsOpts, ImageListFilter, ImageListOpts, ImageOpt, ImageTreeOpts,
};

use crate::{BASE, CONTAINER, ONE, OTHER, Peer, TWO, fails, names, set};

impl Peer {
    pub(crate) async fn service(&self) {
        let podman = &self.podman;
        let ping = podman.ping().await.unwrap();
        assert_eq!(
            (ping.api_version.as_str(), ping.libpod_api_version.as_str()),
            ("1.44", "6.0.0")
        );
        let version = podman.version().await.unwrap();
        assert_eq!(version.version.as_deref(), Some("6.0.0"));
        assert_eq!(version.api_version.as_deref(), Some("1.44"));
        let mut older = podman.clone();
        older.adjust_api_version().await.unwrap();
        assert_eq!(older.version().await.unwrap().version, version.version);

        let store = podman.info().await.unwrap().store.unwrap();
        assert_eq!(store.graph_root.as_deref(), Some(self.expected.store.as_str()));
        assert_eq!(store.graph_driver_name.as_deref(), Some("overlay"));
        assert_eq!(store.image_store.unwrap().number, Some(1));
        assert_eq!(self.all_names().await, set(&[BASE]));
    }

    pub(crate) async fn look(&self) {
        let (podman, expected) = (&self.podman, &self.expected);
        let images = podman.images();
        for name in [ONE, TWO, OTHER, "one:1", &expected.one, &expected.one[..12]] {
            assert!(images.get(name).exists().await.unwrap(), "{name}");
        }
        for name in ["nobody", "localhost/one:2", "UPPER"] {
            assert!(!images.get(name).exists().await.unwrap(), "{name}");
        }
        self.list().await;

        let image = images.get(TWO).inspect().await.unwrap();
        assert_eq!(image.id.as_ref(), Some(&expected.two));
        assert_eq!(image.repo_tags.unwrap().len(), 2);
        assert_eq!(image.labels.unwrap()["made"], "for-a-test");
        assert_eq!(image.root_fs.unwrap().layers.as_ref(), Some(&expected.diff_ids));
        assert_eq!(image.config.unwrap().cmd.unwrap(), ["/bin/true"]);
        assert_eq!(image.architecture.as_deref(), Some("amd64"));
        let text = "failed to find image nobody: nobody: image not known";
        fails(images.get("nobody").inspect().await, 404, &[text]);

        let history = images.get(TWO).history().await.unwrap();
        let ids: Vec<_> = history.iter().map(|step| step.id.clone().unwrap()).collect();
        assert_eq!(ids, [expected.two.clone(), expected.one.clone()]);
        assert_eq!(history[0].created, Some(1_714_557_600));
        let step = format!("layer {}", expected.diff_ids[1]);
        assert_eq!(history[0].created_by.as_ref(), Some(&step));
        assert_eq!(history[0].tags.as_ref().map(Vec::len), Some(2));

        for (requires, text) in [(false, "Top Layer of: [localhost/one:1]"), (true, TWO)] {
            let options = ImageTreeOpts::builder().what_requires(requires).build();
            let tree = images.get(ONE).tree(&options).await.unwrap().tree.unwrap();
            assert!(tree.starts_with(&format!("Image ID: {}", &expected.one[..12])), "{tree}");
            assert!(tree.contains(text), "{tree}");
        }
        fails(images.get("nobody").tree(&ImageTreeOpts::default()).await, 404, &[]);

        let usage = podman.data_usage().await.unwrap();
        let mut rows: Vec<_> = usage.images.unwrap().into_iter().collect();
        rows.retain(|row| row.image_id.as_ref() == Some(&expected.two));
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.shared_size > Some(0) && row.unique_size > Some(0)));
        self.changes().await;
    }

    async fn list(&self) {
        let (images, expected) = (self.podman.images(), &self.expected);
        let two = images.list(&ImageListOpts::builder().all(true).build()).await.unwrap();
        let two = two.iter().find(|image| image.id.as_ref() == Some(&expected.two)).unwrap();
        assert_eq!(two.parent_id.as_ref(), Some(&expected.one));
        assert!(two.size > Some(0) && two.created == Some(1_714_557_600));
        let base = ImageOpt::Name("base:1".into());
        for (filters, expected) in [
            (vec![ImageListFilter::Reference("localhost/one".into(), None)], set(&[ONE])),
            (vec![ImageListFilter::Reference("two".into(), Some("1".into()))], set(&[TWO, OTHER])),
            (vec![ImageListFilter::Id(expected.one.as_str().into())], set(&[ONE])),
            (vec![ImageListFilter::Dangling(true)], set(&[])),
            (vec![ImageListFilter::LabelKey("made".into())], set(&[BASE, ONE, TWO, OTHER])),
            (vec![ImageListFilter::LabelKeyVal("made".into(), "else".into())], set(&[])),
            (vec![ImageListFilter::NoLabelKey("made".into())], set(&[])),
            (
                vec![ImageListFilter::NoLabelKeyVal("made".into(), "else".into())],
                set(&[BASE, ONE, TWO, OTHER]),
            ),
            (vec![ImageListFilter::Before(base)], set(&[])),
            (
                vec![ImageListFilter::Since(ImageOpt::Tag("localhost/base".into(), "1".into()))],
                set(&[]),
            ),
        ] {
            let asked = format!("{filters:?}");
            let options = ImageListOpts::builder().filter(filters).build();
            assert_eq!(names(&images.list(&options).await.unwrap()), expected, "{asked}");
        }
        let unknown = ImageListFilter::Since(ImageOpt::Name("nobody".into()));
        let options = ImageListOpts::builder().filter([unknown]).build();
        fails(images.list(&options).await, 500, &["nobody: image not known"]);
    }

    async fn changes(&self) {
        let images = self.podman.images();
        // Podman takes no slash there, and the crate escapes none.
        let two = "two:1";
        let all = ChangesOpts::default();
        let of = ChangesOpts::builder().diff_type(DiffType::Image).parent("one:1").build();
        for changes in [
            images.get(two).changes(&all).await.unwrap(),
            images.get(two).changes(&of).await.unwrap(),
            // As `podman diff` asks for images.
            self.podman.containers().get(two).changes(&all).await.unwrap(),
        ] {
            let issue = changes.iter().find(|change| change.path == "/etc/issue").unwrap();
            assert_eq!(issue.kind, 1);
        }
        let changes = self.podman.containers().get(CONTAINER).changes(&all).await.unwrap();
        assert!(changes.iter().any(|change| change.path == "/added" && change.kind == 1));
        fails(images.get("nobody").changes(&all).await, 500, &["nobody not found"]);
    }

    /// What was done before, as told afterwards.
    pub(crate) async fn events(&self) {
        let filters = |event: &str| {
            let event = ("event".to_owned(), vec![event.to_owned()]);
            EventsOpts::builder().stream(false).since("1h").filters([event]).build()
        };
        for (event, name) in [("tag", "short:2"), ("untag", "localhost/short:2"), ("remove", ONE)] {
            let events: Vec<_> = self.podman.events(&filters(event)).try_collect().await.unwrap();
            assert!(events.iter().all(|it| it.typ == "image" && it.action == event));
            let found = events.iter().find(|it| it.actor.attributes["name"] == name);
            let found = found.unwrap_or_else(|| panic!("no {event} of {name}: {events:?}"));
            assert_eq!(found.actor.id, self.expected.one, "{event}");
        }
    }

    /// What is not served says so, and is no missing container.
    pub(crate) async fn refused(&self) {
        let podman = &self.podman;
        fails(podman.containers().list(&Default::default()).await, 501, &["not served"]);
        fails(podman.containers().get(CONTAINER).inspect().await, 501, &["not served"]);
        fails(podman.volumes().list(&Default::default()).await, 501, &["not served"]);
        fails(podman.prune().await, 501, &["not served"]);
    }
}
