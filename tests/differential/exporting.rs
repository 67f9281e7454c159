//! Archives of every format, down to their members.

use crate::play::Play;

pub(crate) fn play(play: &mut Play) {
    for name in ["base", "rich:1", "quay.io/other/app:v2", "$leaf", "$lost", "terse:1", "bare:1"] {
        for format in ["docker-archive", "oci-archive", "docker-dir", "oci-dir"] {
            play.get(&format!("/images/{name}/get?format={format}"));
        }
    }
    play.get_all([
        "/images/base/get",
        "/images/base/get?format=",
        "/images/base/get?compress=true",
        "/images/base/get?format=docker-dir&compress=true",
        "/images/base/get?format=docker-archive&compress=maybe",
        "/images/base/get?format=bogus",
        "/images/base/get?FORMAT=docker-archive",
        "/images/list:1/get?format=docker-archive",
        "/images/nothing:1/get",
        "/images/quay.io/by/digest@sha256:$pinned/get?format=oci-archive",
        "/images/quay.io/by/digest@sha256:$pinned/get?format=docker-archive",
        "/images/sha256:$base/get?format=docker-archive",
        "/images/nobody/get",
        "/images/nobody/get?format=bogus",
        "/images/UPPER/get",
        "/images/docker:%2F%2Fbase/get",
        "/images/export",
        "/images/export?references=",
        "/images/export?format=docker-archive",
        "/images/export?references=base",
        "/images/export?references=base&format=docker-archive",
        "/images/export?References=base&Format=docker-archive",
        "/images/export?references=base&format=oci-archive&ociacceptuncompressedlayers=true",
        "/images/export?references=app:v2&format=oci-archive&ociAcceptUncompressedLayers=true",
        "/images/export?references=base&format=oci-dir",
        "/images/export?references=base&format=docker-dir",
        "/images/export?references=base&format=docker-dir&compress=true",
        "/images/export?references=base&references=leaf:1&format=docker-archive",
        "/images/export?references=foo:1&references=c:9&references=base&format=docker-archive",
        "/images/export?references=$base&references=rich:2&references=rich:1&format=docker-archive",
        "/images/export?references=base&references=base&format=docker-archive",
        "/images/export?references=base,leaf:1&format=docker-archive",
        "/images/export?references=base&references=nobody&format=docker-archive",
        "/images/export?references=base&references=leaf:1",
        "/images/export?references=base&references=leaf:1&format=oci-archive",
        "/images/export?references=base&references=leaf:1&format=bogus",
        "/images/export?references=base&format=bogus",
        "/images/export?references=base&compress=x",
        "/images/export?references=base&ociacceptuncompressedlayers=x",
        "/images/export?references=nobody&format=docker-archive",
        "/images/export?references=UPPER&format=docker-archive",
        "/images/export?references=list:1&format=docker-archive",
        "/images/export?references=nothing:1&format=docker-archive",
    ]);
}
