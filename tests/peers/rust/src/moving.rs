//! Images that come and go as archives.

use futures_util::TryStreamExt;
use podman_api::opts::{ImageExportOpts, ImageImportOpts, ImagesExportOpts};

use crate::{BASE, ONE, OTHER, Peer, TWO, fails, set};

impl Peer {
    pub(crate) async fn load(&self) {
        let images = self.podman.images();
        let report = images.load(self.read("images.tar")).await.unwrap();
        assert_eq!(report.names.unwrap(), [ONE, TWO, OTHER]);
        assert_eq!(self.all_names().await, set(&[BASE, ONE, TWO, OTHER]));
        fails(images.load("not an archive").await, 500, &["payload does not match"]);
    }

    /// What is exported can be loaded.
    pub(crate) async fn save(&self) {
        let (images, expected) = (self.podman.images(), &self.expected);
        for (format, same) in [("docker-archive", true), ("oci-archive", false)] {
            let options = ImageExportOpts::builder().format(format).build();
            let archive: Vec<u8> = images.get(TWO).export(&options).try_concat().await.unwrap();
            let report = images.load(archive).await.unwrap();
            assert_eq!(report.names.unwrap(), [TWO], "{format}");
            let (names, id) = self.named(TWO).await;
            assert_eq!(id == expected.two, same, "{format}");
            if !same {
                // A Docker image becomes another one as an OCI image.
                assert_eq!(names, set(&[TWO]));
                assert!(images.load(self.read("images.tar")).await.unwrap().names.is_some());
                images.get(id).delete().await.unwrap();
            }
        }
        let directory = ImageExportOpts::builder().format("docker-dir").compress(true).build();
        let tar: Vec<u8> = images.get(TWO).export(&directory).try_concat().await.unwrap();
        assert!(tar.windows(7).any(|bytes| bytes == b"version"));

        let several = ImagesExportOpts::builder()
            .references([ONE, OTHER])
            .format("docker-archive")
            .compress(false)
            .oci_accept_uncompressed_layers(false)
            .build();
        let archive: Vec<u8> = images.export(&several).try_concat().await.unwrap();
        assert_eq!(images.load(archive).await.unwrap().names.unwrap(), [ONE, OTHER]);

        let unknown = images.get("nobody").export(&ImageExportOpts::default()).try_concat().await;
        fails(unknown, 404, &["nobody: image not known"]);
        let none = images.export(&ImagesExportOpts::default()).try_concat().await;
        fails(none, 400, &["no references"]);
    }

    pub(crate) async fn import(&self) {
        let images = self.podman.images();
        let options = ImageImportOpts::builder()
            .changes(["CMD [\"/bin/imported\"]", "LABEL made=imported"])
            .message("from outside")
            .reference("localhost/imported:1")
            .build();
        // The crate looks for the ID as a pull tells it, and so finds none.
        let report = images.import(&options, self.read("root.tar")).await.unwrap();
        assert_eq!((report.id, report.error), (None, None));
        let image = images.get("localhost/imported:1").inspect().await.unwrap();
        assert_eq!(image.comment.as_deref(), Some("from outside"));
        assert_eq!(image.labels.unwrap()["made"], "imported");
        assert_eq!(image.config.unwrap().cmd.unwrap(), ["/bin/imported"]);
        assert_eq!(image.root_fs.unwrap().layers.unwrap(), [self.expected.root_diff_id.as_str()]);
        images.get("localhost/imported:1").delete().await.unwrap();
        let bad = ImageImportOpts::builder().changes(["BOGUS x"]).build();
        fails(
            images.import(&bad, self.read("root.tar")).await,
            500,
            &["invalid instruction BOGUS"],
        );
    }
}
