//! Calls that reach a registry.

use std::collections::BTreeSet;

use podman_api::opts::{ImageSearchFilter, ImageSearchOpts};

use crate::{Peer, fails, set};

impl Peer {
    pub(crate) async fn registry(&self) {
        self.search().await;
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
