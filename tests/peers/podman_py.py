"""Every image call of podman-py, and those about the service, over a Unix socket.

Usage: podman_py.py SOCKET DIRECTORY. The directory has `images.tar`, a docker-archive of
localhost/one:1 and of localhost/two:1 with quay.io/example/two:2, and `expected.json` with what is
in it. The store begins empty and ends so.
"""

import io
import json
import sys
import tarfile
from pathlib import Path

from podman import PodmanClient
from podman.domain.images import Image
from podman.errors import APIError, ImageNotFound, InvalidArgument, PodmanError

ONE, TWO, OTHER = "localhost/one:1", "localhost/two:1", "quay.io/example/two:2"


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def fails(kind, call, *texts):
    """The error of a call that must fail with exactly this kind, and these texts in it."""
    try:
        call()
    except Exception as error:
        equal(type(error), kind)
        for text in texts:
            assert text in str(error), f"{text!r} is not in {error}"
        return error
    raise AssertionError(f"{kind.__name__} is expected")


def names(images):
    return sorted(tag for image in images for tag in image.tags)


def system(client, expected):
    assert client.ping()
    assert client.system.ping()
    version = client.version()
    equal(version["Version"], "6.0.0")
    equal(version["Components"][0]["Name"], "Podman Engine")
    equal(version["ApiVersion"], "1.44")
    info = client.info()
    equal(info["store"]["graphRoot"], expected["root"])
    equal(info["store"]["graphDriverName"], "overlay")
    equal(info["store"]["imageStore"]["number"], 0)
    equal(info["host"]["remoteSocket"]["path"], "unix://" + sys.argv[1])
    equal(client.df(), {"ImagesSize": 0, "Images": [], "Containers": [], "Volumes": []})
    with PodmanClient(base_url=f"http+unix://{sys.argv[1]}", version="4.0.0") as older:
        equal(older.version()["Version"], "6.0.0")


def load(client, expected, directory):
    images = client.images
    equal(images.list(), [])
    loaded = list(images.load(file_path=directory / "images.tar"))
    equal([image.id for image in loaded], [expected["one"], expected["two"], expected["two"]])
    assert all(isinstance(image, Image) for image in loaded)
    data = (directory / "images.tar").read_bytes()
    equal([image.id for image in images.load(data=data)], [expected["one"], expected["two"], expected["two"]])
    fails(APIError, lambda: images.load(data=b"not an archive"), "500", "payload does not match")
    fails(PodmanError, images.load)


def look(client, expected):
    images = client.images
    for name in (ONE, TWO, OTHER, "one:1", "two:1", expected["one"], expected["one"][:12]):
        assert images.exists(name), name
    for name in ("nobody", "localhost/one:2", "UPPER"):
        assert not images.exists(name), name

    equal(names(images.list()), [ONE, TWO, OTHER])
    equal(names(images.list(all=True)), [ONE, TWO, OTHER])
    equal(names(images.list(name="localhost/one")), [ONE])
    equal(names(images.list(name="quay.io/example/*")), [TWO, OTHER])
    equal(names(images.list(filters={"dangling": True})), [])
    equal(names(images.list(filters={"label": "made=for-a-test"})), [ONE, TWO, OTHER])
    equal(names(images.list(filters=["label=made", "label=made=otherwise"])), [])
    # It takes several values of a key only in this form.
    either = ["reference=one:1", "reference=localhost/two:1"]
    equal(names(images.list(filters=either)), [ONE, TWO, OTHER])
    fails(APIError, lambda: images.list(filters={"colour": "red"}), "500")

    image = images.get(TWO)
    equal(image.id, expected["two"])
    equal(image.short_id, expected["two"][:10])
    equal(sorted(image.tags), [TWO, OTHER])
    equal(image.labels, {"made": "for-a-test"})
    equal(image.attrs["RootFS"], {"Type": "layers", "Layers": expected["diff_ids"]})
    equal(image.attrs["Config"]["Cmd"], ["/bin/true"])
    assert image.attrs["Size"] > 0
    image.reload()
    equal(image.id, expected["two"])
    equal(images.get_registry_data(TWO).image_name, TWO)
    error = fails(ImageNotFound, lambda: images.get("nobody"), "404")
    equal(error.explanation, "failed to find image nobody: nobody: image not known")

    history = image.history()
    equal(len(history), 2)
    equal([step["Id"] for step in history], [expected["two"], expected["one"]])
    equal(history[0]["CreatedBy"], "layer " + expected["diff_ids"][1])
    equal(history[0]["Created"], 1714557600)
    equal(sorted(history[0]["Tags"]), [TWO, OTHER])

    usage = client.df()["Images"]
    equal(sorted(f"{item['Repository']}:{item['Tag']}" for item in usage), [ONE, TWO, OTHER])
    equal({item["ImageID"] for item in usage}, {expected["one"], expected["two"]})


def save(client, expected):
    images = client.images
    image = images.get(TWO)
    for named, tags in ((False, None), (True, [image.tags[0]]), (OTHER, [OTHER])):
        for chunk_size in (None, 1000):
            content = b"".join(image.save(named=named, chunk_size=chunk_size))
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                manifest = json.load(tar.extractfile("manifest.json"))
            equal(len(manifest), 1)
            equal(manifest[0]["RepoTags"] or None, tags)
            equal(manifest[0]["Config"], expected["two"] + ".json")
            equal([image.id for image in images.load(data=content)], [expected["two"]])
    fails(InvalidArgument, lambda: image.save(named="localhost/else:1"))


def tag(client, expected):
    images = client.images
    image = images.get(ONE)
    assert image.tag("quay.io/example/app", "v1")
    assert image.tag("localhost/app", None)
    assert image.tag("short", "2")
    added = ["localhost/app:latest", "localhost/short:2", "quay.io/example/app:v1"]
    equal(names([images.get(ONE)]), sorted([ONE, *added]))
    fails(APIError, lambda: image.tag("UPPER", "1"), "500", "repository name must be lowercase")
    assert not image.tag("UPPER", "1", force=True)
    # It has no call for untag; this is the request that one would make.
    for name in added:
        repository, _, name_tag = name.rpartition(":")
        parameters = {"repo": repository, "tag": name_tag}
        answer = client.api.post(f"/images/{image.id}/untag", params=parameters)
        equal((answer.status_code, answer.text), (201, "\n"))
    equal(names([images.get(ONE)]), [ONE])
    images.get(OTHER).tag("localhost/one", "1")
    equal(images.get(ONE).id, expected["two"])
    equal(images.get(expected["one"]).tags, [])
    images.get(expected["one"]).tag("localhost/one", "1")
    equal(images.get(ONE).id, expected["one"])


def remove(client, expected, directory):
    images = client.images
    fails(ImageNotFound, lambda: images.remove("nobody"), "404")
    fails(APIError, lambda: images.remove(expected["two"]), "500", "more than one tag")
    equal(images.remove(OTHER), [{"Untagged": OTHER}, {"ExitCode": 0}])
    equal(images.get(TWO).tags, [TWO])
    removed = images.remove(images.get(TWO))
    equal(removed, [{"Deleted": expected["two"]}, {"Untagged": TWO}, {"ExitCode": 0}])
    assert not images.exists(TWO)
    removed = images.get(ONE).remove(force=True)
    equal(removed, [{"Deleted": expected["one"]}, {"Untagged": ONE}, {"ExitCode": 0}])
    equal(images.list(all=True), [])
    list(images.load(file_path=directory / "images.tar"))


def prune(client, expected):
    images = client.images
    equal(images.prune(), {"ImagesDeleted": [], "SpaceReclaimed": 0})
    for name in (TWO, OTHER):
        images.get(ONE).tag(*name.rsplit(":", 1))
    equal([image.id for image in images.list(filters={"dangling": True})], [expected["two"]])
    equal(images.prune(filters={"label": "made=otherwise"})["ImagesDeleted"], [])
    pruned = images.prune(filters={"label": "made=for-a-test"})
    equal(pruned["ImagesDeleted"], [{"Deleted": expected["two"], "Untagged": ""}])
    assert pruned["SpaceReclaimed"] > 0
    fails(APIError, lambda: images.prune(filters={"colour": "red"}), "500")
    equal(images.prune_builds(), {"CachesDeleted": [], "SpaceReclaimed": 0})
    pruned = images.prune(all=True, external=True)
    equal(pruned["ImagesDeleted"], [{"Deleted": expected["one"], "Untagged": ""}])
    equal(images.list(), [])


def refused(client):
    """What is not served says so, and is no missing container."""
    fails(APIError, lambda: client.containers.list(), "501", "not served")
    fails(APIError, lambda: client.containers.get("x"), "501")
    fails(APIError, lambda: client.volumes.list(), "501")
    fails(APIError, lambda: client.images.scp("one", "elsewhere::"), "501")


def main():
    socket, directory = sys.argv[1], Path(sys.argv[2])
    expected = json.loads((directory / "expected.json").read_text())
    with PodmanClient(base_url=f"http+unix://{socket}", timeout=120) as client:
        system(client, expected)
        load(client, expected, directory)
        look(client, expected)
        save(client, expected)
        tag(client, expected)
        remove(client, expected, directory)
        prune(client, expected)
        refused(client)
    print("all calls answered")


if __name__ == "__main__":
    main()
