//! Calls that reach a registry.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use podman_api::opts::{ImageSearchFilter, ImageSearchOpts, PullOpts, PullPolicy};

use crate::{Peer, fails, set};

impl Peer {
    pub(crate) async fn registry(&self) {
        self.search().await;
        self.pull().await;
    }

    async fn pull(&self) {
        let (images, name) = (self.podman.images(), format!("{}/app:1", self.expected.registry));
        let options = PullOpts::builder()
            .reference(&name)
            .policy(PullPolicy::Always)
            .tls_verify(false)
            .build();
        let reports: Vec<_> = images.pull(&options).try_collect().await.unwrap();
        assert!(reports.iter().all(|report| report.error.is_none()), "{reports:?}");
        let text: String = reports.iter().filter_map(|report| report.stream.as_deref()).collect();
        assert!(text.contains(&format!("Trying to pull {name}...\n")), "{text}");
        let (names, id) = self.named(&name).await;
        assert_eq!(names, set(&[&name]));
        assert_eq!(reports.last().unwrap().images, Some(vec![id]));
        let quiet = PullOpts::builder().reference(&name).quiet(true).tls_verify(false).build();
        let reports: Vec<_> = images.pull(&quiet).try_collect().await.unwrap();
        assert_eq!(reports.len(), 1);
        images.get(&name).delete().await.unwrap();

        let unknown = PullOpts::builder().reference(format!("{name}23")).tls_verify(false).build();
        fails(images.pull(&unknown).try_collect::<Vec<_>>().await, 404, &["manifest unknown"]);
        let never = PullOpts::builder().reference(&name).policy(PullPolicy::Never).build();
        fails(images.pull(&never).try_collect::<Vec<_>>().await, 500, &["image not known"]);
    }

    async fn search(&self) {
        let (images, host) = (self.podman.images(), &self.expected.registry);
        let search = |term: &str| {
            ImageSearchOpts::builder()
                .term(format!("{host}/{term}"))
                .limit(5usize)
                .tls_verify(false)
        };
        let found = images.search(&search("ap").build()).await.unwrap();
        let names: Vec<_> = found.iter().map(|hit| hit.name.clone().unwrap()).collect();
        assert_eq!(names, [format!("{host}/app")]);
        let tags = images.search(&search("app").list_tags(true).build()).await.unwrap();
        let tags: BTreeSet<_> = tags.into_iter().map(|hit| hit.tag.unwrap()).collect();
        assert_eq!(tags, set(&["1", "2"]));
        let stars = search("ap").filter([ImageSearchFilter::Stars(1)]).build();
        assert_eq!(images.search(&stars).await.unwrap(), []);
        fails(images.search(&search("nothing").list_tags(true).build()).await, 500, &["not known"]);
    }
}
