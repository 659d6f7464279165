"""The files of the page on the admin address: what is served, and under which headers. tests/page opens it in a browser."""

import re
import zlib
from importlib.resources import files

import pytest

from examples.mesh.http import ask
from rls.api.admin.page import serving
from tests.rls_process import RlsProcess

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FOLDER = files("rls.api.admin.page")
NAMES = sorted(file.name for file in FOLDER.iterdir() if file.is_file() and not file.name.endswith(".py"))
SCRIPTS = [name for name in NAMES if name.endswith(".js")]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    server = RlsProcess(tmp_path_factory.mktemp("page"))
    yield int(server.addresses["admin"].rpartition(":")[2])
    server.kill()


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_and_allowed_nothing_but_its_own_server(port, name) -> None:
    path = "/" if name == "index.html" else f"/page/{name}"
    answer = ask(port, path, HTML)
    assert (answer.status, answer.body) == (200, FOLDER.joinpath(name).read_bytes())
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    kind = {
        "html": "text/html; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "css": "text/css; charset=utf-8",
    }
    assert answer.headers["content-type"] == kind.get(name.rpartition(".")[2], "image/svg+xml")


def test_what_a_browser_has_is_not_sent_again(port) -> None:
    first = ask(port, "/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = ask(port, "/page/main.js", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = ask(port, "/page/main.js", {"If-None-Match": 'W/"0000000000000000"'})
    assert (other.status, other.body) == (200, first.body)
    packed = ask(port, "/page/main.js", {"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.headers["etag"]) == ("gzip", first.headers["etag"])
    assert zlib.decompress(packed.body, 31) == first.body
    head = ask(port, "/page/main.js", method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(first.body)))


def test_data_is_stored_nowhere(port) -> None:
    for path in ("/api/v1/status", "/api/v1/traffic", "/api/v1/backend"):
        assert ask(port, path).headers["cache-control"] == "no-store"


def test_a_program_gets_the_list_of_paths(port) -> None:
    for accept in ("*/*", "text/plain", ""):
        answer = ask(port, "/", {"Accept": accept} if accept else {})
        assert answer.headers["content-type"].startswith("text/plain")
        assert "/: this list; in a browser, a page\n" in answer.body.decode()


def test_there_is_nothing_else_in_the_folder(port) -> None:
    for path in ("/page/", "/page/serving.py", "/page/../http.py", "/page/%2e%2e/http.py", "/page/none.js"):
        assert ask(port, path, HTML).status == 404
    assert ask(port, "/page/main.js", method="POST", body=b"{}").status in (401, 403)


def test_data_never_becomes_html() -> None:
    """So no value of a request can run a script, even where a browser does not know the policy."""
    for name in SCRIPTS:
        text = FOLDER.joinpath(name).read_text()
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text)
        assert found == [], name
        assert re.findall(r"(?:local|session)Storage|document\.cookie", text) == [], "a token is kept in memory only"


def test_it_is_small() -> None:
    """What a browser loads, compressed."""
    packed = {file: len(served.compressed) for file, served in serving.Page(None)._files.items()}  # type: ignore[arg-type]
    assert sum(size for file, size in packed.items() if file.endswith(".js")) < 24_000
    assert sum(packed.values()) < 30_000
