//! Names given and taken, images made and removed.

use podman_api::opts::{
    ContainerCommitOpts, ImagePruneFilter, ImagePruneOpts, ImageTagOpts, ImagesRemoveOpts,
};

use crate::{BASE, CONTAINER, ONE, OTHER, Peer, TWO, fails, set};

fn tag(repository: &str, tag: &str) -> ImageTagOpts {
    ImageTagOpts::builder().repo(repository).tag(tag).build()
}

impl Peer {
    pub(crate) async fn commit(&self) {
        let options = ContainerCommitOpts::builder()
            .repo("localhost/committed")
            .tag("1")
            .author("somebody")
            .comment("as it is")
            .format("docker")
            .pause(false)
            .changes(["CMD /bin/committed"])
            .build();
        self.podman.containers().get(CONTAINER).commit(&options).await.unwrap();
        let image = self.podman.images().get("localhost/committed:1");
        let found = image.inspect().await.unwrap();
        assert_eq!(found.author.as_deref(), Some("somebody"));
        assert_eq!(found.comment.as_deref(), Some("as it is"));
        assert_eq!(found.parent.as_ref(), Some(&self.expected.base));
        assert_eq!(found.config.unwrap().cmd.unwrap().last().unwrap(), "/bin/committed");
        image.delete().await.unwrap();
        let nobody = self.podman.containers().get("nobody");
        fails(nobody.commit(&ContainerCommitOpts::default()).await, 404, &["no such container"]);
    }

    pub(crate) async fn tag(&self) {
        let images = self.podman.images();
        let (one, id) = (images.get(ONE), &self.expected.one);
        one.tag(&tag("quay.io/example/app", "v1")).await.unwrap();
        one.tag(&ImageTagOpts::builder().repo("localhost/app").build()).await.unwrap();
        one.tag(&tag("short", "2")).await.unwrap();
        let all = [ONE, "quay.io/example/app:v1", "localhost/app:latest", "localhost/short:2"];
        assert_eq!(self.named(ONE).await, (set(&all), id.clone()));
        fails(one.tag(&tag("UPPER", "1")).await, 500, &["repository name must be lowercase"]);
        fails(images.get("nobody").tag(&tag("x", "1")).await, 404, &["image not known"]);

        one.untag(&tag("localhost/short", "2")).await.unwrap();
        assert_eq!(self.named(ONE).await.0, set(&all[..3]));
        fails(one.untag(&tag("localhost/short", "2")).await, 500, &["tag not known"]);
        images.get(id.as_str()).untag(&ImageTagOpts::default()).await.unwrap();
        assert_eq!(self.named(id).await.0, set(&[]));
        images.get(id.as_str()).tag(&tag("localhost/one", "1")).await.unwrap();
        assert_eq!(self.named(id).await.0, set(&[ONE]));
    }

    pub(crate) async fn remove(&self) {
        let (images, expected) = (self.podman.images(), &self.expected);
        fails(images.get("nobody").delete().await, 404, &["nobody: image not known"]);
        let two = images.get(expected.two.as_str());
        fails(two.delete().await, 500, &["by ID with more than one tag", "force"]);
        images.get(OTHER).delete().await.unwrap();
        assert_eq!(self.named(TWO).await.0, set(&[TWO]));
        images.get(OTHER).delete().await.unwrap_err();
        two.remove().await.unwrap();
        assert_eq!(self.all_names().await, set(&[BASE, ONE]));
        fails(images.get(BASE).delete().await, 409, &["image is in use by a container"]);

        images.load(self.read("images.tar")).await.unwrap();
        let batch = ImagesRemoveOpts::builder().images([TWO, ONE, "nobody"]);
        let report = images.remove(&batch.build()).await.unwrap();
        assert_eq!(report.exit_code, Some(1));
        assert_eq!(report.errors.unwrap(), ["nobody: image not known"]);
        assert_eq!(report.untagged.unwrap(), [TWO, ONE]);
        assert_eq!(report.deleted, None);
        assert_eq!(self.all_names().await, set(&[BASE, OTHER]));
        let batch = ImagesRemoveOpts::builder()
            .images([expected.two.as_str(), "nobody"])
            .ignore(true)
            .force(true)
            .lookup_manifest(false);
        let report = images.remove(&batch.build()).await.unwrap();
        assert_eq!((report.exit_code, report.errors), (Some(0), None));
        assert_eq!(report.untagged.unwrap(), [OTHER]);
        assert_eq!(report.deleted, Some(vec![expected.two.clone()]));

        images.load(self.read("images.tar")).await.unwrap();
        // A list that came out empty removes nothing.
        let none = images.remove(&ImagesRemoveOpts::default()).await.unwrap();
        assert_eq!((none.exit_code, none.deleted), (Some(0), None));
        assert_eq!(self.all_names().await, set(&[BASE, ONE, TWO, OTHER]));
        let all = ImagesRemoveOpts::builder().all(true).build();
        let report = images.remove(&all).await.unwrap();
        assert_eq!(report.exit_code, Some(2));
        assert_eq!(self.all_names().await, set(&[BASE]));
    }

    pub(crate) async fn prune(&self) {
        let (images, expected) = (self.podman.images(), &self.expected);
        images.load(self.read("images.tar")).await.unwrap();
        assert_eq!(images.prune(&ImagePruneOpts::default()).await.unwrap(), Some(vec![]));
        images.get(expected.two.as_str()).untag(&ImageTagOpts::default()).await.unwrap();
        for (filter, expected) in [
            (ImagePruneFilter::LabelKeyVal("made".into(), "else".into()), None),
            (ImagePruneFilter::NoLabelKey("made".into()), None),
            (ImagePruneFilter::Until("2024-05-01T09:00:00Z".into()), None),
            (ImagePruneFilter::LabelKey("made".into()), Some(&expected.two)),
        ] {
            let asked = format!("{filter:?}");
            let options = ImagePruneOpts::builder().filter([filter]).build();
            let pruned = images.prune(&options).await.unwrap().unwrap();
            let ids: Vec<_> = pruned.iter().map(|report| report.id.as_ref().unwrap()).collect();
            assert_eq!(ids, Vec::from_iter(expected), "{asked}");
            assert!(pruned.iter().all(|report| report.size > Some(0)));
        }
        let all = ImagePruneOpts::builder().all(true).external(true).build();
        let pruned = images.prune(&all).await.unwrap().unwrap();
        assert_eq!(pruned.len(), 1);
        assert_eq!(pruned[0].id.as_ref(), Some(&expected.one));
        assert_eq!(self.all_names().await, set(&[BASE]));
    }
}
