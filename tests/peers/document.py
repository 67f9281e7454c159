"""What the document promises in prose, archives to send, and a store that stays as it was.

Loaded by Schemathesis. The daemon is at the base URL; IMAGED_ARCHIVES is a directory with archives.
"""

import gzip
import io
import json
import os
import tarfile
import urllib.request
from pathlib import Path

import schemathesis
from hypothesis import strategies
from schemathesis.specs.openapi.checks import negative_data_rejection

ARCHIVES = Path(os.environ["IMAGED_ARCHIVES"])
IMAGES = (ARCHIVES / "images.tar").read_bytes()
OCI = (ARCHIVES / "oci.tar").read_bytes()
LAYER = (ARCHIVES / "layer.tar").read_bytes()
REGISTRY = os.environ["IMAGED_REGISTRY"]

# Every answer of a handler has them; those of the router have none.
HEADERS = {"api-version", "libpod-api-version", "server", "x-reference-id"}
# How Go spells booleans, beside true and false.
BOOLEANS = {"1", "t", "T", "True", "TRUE", "on", "0", "f", "F", "False", "FALSE"}

schemathesis.openapi.media_type(
    "application/x-tar",
    strategies.sampled_from([IMAGES, OCI, LAYER, gzip.compress(IMAGES, mtime=0), IMAGES[:5000], b"garbage", b""]),
)


@schemathesis.deserializer("application/x-tar", "application/octet")
def archive(context, response):
    """Fails on what is not a complete tar; the schema wants a string."""
    with tarfile.open(fileobj=io.BytesIO(response.content), mode="r:") as tar:
        assert tar.getmembers(), "an empty archive"
    assert response.content.endswith(bytes(1024)), "an archive without its end"
    return response.content.decode("latin-1")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Closes the schemas of answers: a field that is not documented is a failure.

    The published document leaves them open, since later versions may answer more.
    """
    for name, schema in raw_schema["components"]["schemas"].items():
        if name not in ("RepoTag", "AuthConfig", "Empty") and "properties" in schema:
            schema.setdefault("additionalProperties", False)


class State:
    """What is remembered from one request to the next."""

    changed = False
    successes = set()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Loads the images again after every request that has changed them, and follows nothing for ever."""
    if operation_id(case) == "SystemEventsLibpod" and str((case.query or {}).get("stream")).lower() != "false":
        case.query = dict(case.query or {}) | {"until": "0"}
    if State.changed:
        url = f"{case.operation.base_url}/libpod/images/load"
        request = urllib.request.Request(url, data=IMAGES, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            names = json.load(response)["Names"]
        assert names[:3] == ["localhost/one:1", "localhost/two:1", "quay.io/example/two:2"], names
        State.changed = False


@schemathesis.hook.apply_to(operation_id="ImageExportLibpod")
def map_query(context, query):
    """Names some images that exist: dictionaries are for single values only."""
    references = query.get("references")
    if isinstance(references, list) and len(str(references)) % 2:
        return query | {"references": ["localhost/one:1", "two:1"][: len(references)]}
    return query


@schemathesis.hook.apply_to(operation_id="ImageSearchLibpod")
def map_query(context, query):  # noqa: F811
    """Asks no registries but the one of the test, and one that is not there."""
    term = str(query.get("term"))
    return query | {"term": ["app", "", "127.0.0.1:1/app", f"{REGISTRY}/app"][len(term) % 4]}


@schemathesis.hook.apply_to(operation_id="ImagePullLibpod")
def map_query(context, query):  # noqa: F811
    """Pulls from there what there is and what is not, and does not try again for hours."""
    reference = str(query.get("reference"))
    names = [f"{REGISTRY}/app:1", "app:1", f"{REGISTRY}/nothing", reference]
    policy = query.get("policy")
    policies = ["always", "Missing", "newer", policy]
    return query | {
        "reference": names[len(reference) % 4],
        "policy": policies[len(str(policy)) % 4],
        "retry": 0,
        "retrydelay": "1ms" if len(reference) % 3 else query.get("retrydelay", ""),
    }


@schemathesis.hook.apply_to(operation_id="ImagePushLibpod")
def map_query(context, query):  # noqa: F811
    """Pushes there."""
    destination = str(query.get("destination"))
    names = [f"{REGISTRY}/pushed:1", "pushed", f"docker://{REGISTRY}/pushed:1", destination]
    some = len(destination) % 3
    kept = {"format": "", "compressionFormat": "gzip", "retryDelay": "1ms"} if some else {}
    return query | {"destination": names[len(destination) % 4], "retry": 0} | kept


@schemathesis.hook.apply_to(operation_id="SystemAuth")
def map_body(context, body):
    """Logs in there."""
    if isinstance(body, dict) and isinstance(body.get("serveraddress", ""), str):
        return body | {"serveraddress": REGISTRY}
    return body


def operation_id(case):
    """The name of the operation in the document."""
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def filter_query(context, query):
    """Nothing is downloaded: the daemon is to talk to nobody but this program."""
    return "://" not in str((query or {}).get("URL", ""))


@schemathesis.hook
def after_call(context, case, response):
    """Notes what has succeeded, for `document.rs` to see that the questions were good ones."""
    if response.status_code < 300:
        State.changed = case.method.upper() != "GET"
        if operation_id(case) not in State.successes:
            State.successes.add(operation_id(case))
            (ARCHIVES / "successes.json").write_text(json.dumps(sorted(State.successes)))


@schemathesis.check
def bad_input_is_refused(ctx, response, case):
    """As `negative_data_rejection`, but for spellings that the description allows as well."""
    allowed = BOOLEANS | {"", None}
    values = [item for value in (case.query or {}).values() for item in (value if isinstance(value, list) else [value])]
    if not any(str(value) in allowed or value is None for value in values):
        return negative_data_rejection(ctx, response, case)
    return None


@schemathesis.check
def other_methods_are_refused(ctx, response, case):
    """Methods that are not in the document get the router's refusal, and no others do."""
    method, path = case.method.upper(), case.operation.path
    # Names contain slashes, so this removes the image `{name}/json` and the like.
    removes = method == "DELETE" and path.startswith("/libpod/images/")
    documented = case.operation.method.upper() == method or removes
    assert (response.status_code == 405) != documented, f"{method} got {response.status_code}"
    if not documented:
        assert response.headers["content-type"] == ["text/plain; charset=utf-8"], response.headers
        assert response.content == b"Method Not Allowed\n", response.content


@schemathesis.check
def events_are_lines(ctx, response, case):
    """Each line is an event with the fields of the document: the schema is for one of them."""
    if operation_id(case) == "SystemEventsLibpod" and response.status_code == 200:
        schema = case.operation.schema.raw_schema["components"]["schemas"]["Event"]
        lines = response.content.decode().splitlines(keepends=True)
        for line in lines:
            assert line.endswith("\n"), line
            event = json.loads(line)
            assert set(schema["required"]) <= set(event) <= set(schema["properties"]), event


@schemathesis.check
def handlers_say_what_they_are(ctx, response, case):
    """Versions in the headers, and in the body of an error its status again."""
    headers = HEADERS & set(response.headers)
    if response.status_code == 405:
        assert not headers, headers
        return
    assert headers == HEADERS, HEADERS - headers
    if response.status_code >= 400 and case.method.upper() != "HEAD":
        body = response.json()
        # A failed login is told in Docker's way.
        if case.operation.path == "/auth" and response.status_code == 500:
            assert list(body) == ["message"], response.text
        else:
            assert body["response"] == response.status_code, response.text
