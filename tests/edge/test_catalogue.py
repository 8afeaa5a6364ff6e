"""The catalogue: fetched from a server on this machine, checked to the byte, kept whole or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge import catalogue, labels
from edge.catalogue import ENTRIES, Entry, RemoteFile, fetch, find
from edge.config import LabelsConfig
from edge.errors import BundleError
from edge.evidence import Kinds

MODEL, LABELS = bytes(range(256)) * 1000, b"fox\nhen\n"


def remote(name: str, data: bytes) -> RemoteFile:
    return RemoteFile(name, len(data), hashlib.sha256(data).hexdigest())


ENTRY = Entry("test", remote("m.tflite", MODEL), remote("l.txt", LABELS), LabelsConfig(), "Apache-2.0", "for tests")


@dataclass
class Server:
    """What it hands out, and what was asked for."""

    files: dict[str, bytes]
    base: str = ""
    asked: list[str] = field(default_factory=list)
    redirect: str = ""
    short: bool = False


@pytest.fixture
def server() -> Iterator[Server]:
    site = Server({"/m.tflite": MODEL, "/l.txt": LABELS})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            if site.redirect and self.path != "/elsewhere":
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            body = site.files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write((body or b"")[: 1000 if site.short else None])

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.base = f"http://127.0.0.1:{http.server_port}/"
    yield site
    http.shutdown()
    http.server_close()
    thread.join()


def test_both_files_arrive_and_are_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    model, names = fetch(ENTRY, tmp_path / "cache", lambda done, of: steps.append((done, of)), base=server.base)
    assert (model.read_bytes(), names.read_bytes()) == (MODEL, LABELS)
    assert steps == sorted(steps)
    assert steps[-1] == (len(MODEL) + len(LABELS),) * 2
    fetch(ENTRY, tmp_path / "cache", base=server.base)
    assert server.asked == ["/m.tflite", "/l.txt"]


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(MODEL[:-1] + b"x")
    assert fetch(ENTRY, tmp_path, base=server.base)[0].read_bytes() == MODEL
    assert "/m.tflite" in server.asked


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(MODEL[:-1] + b"x", "sha256"), (MODEL[:99], "has 99 bytes, must have 256000"), (MODEL + b"x", "more than 256000")],
)
def test_another_file_than_the_catalogues_is_not_kept(
    server: Server, tmp_path: Path, content: bytes, complaint: str
) -> None:
    server.files["/m.tflite"] = content
    with pytest.raises(BundleError, match=complaint):
        fetch(ENTRY, tmp_path, base=server.base)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_left_at_the_size_it_may_have(server: Server, tmp_path: Path) -> None:
    server.files["/m.tflite"] = bytes(50_000_000)
    most: list[int] = []
    with pytest.raises(BundleError, match="more than 256000"):
        fetch(ENTRY, tmp_path, lambda done, of: most.append(done), base=server.base)
    assert max(most) <= len(MODEL)


def test_a_connection_that_breaks_off_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.short = True
    with pytest.raises(BundleError, match=r"cut short|cannot be fetched"):
        fetch(ENTRY, tmp_path, base=server.base)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_refuses_or_is_not_there_is_said_with_the_way_out(server: Server, tmp_path: Path) -> None:
    missing = replace(ENTRY, model=remote("gone.tflite", MODEL))
    with pytest.raises(BundleError, match="the server answers 404"):
        fetch(missing, tmp_path, base=server.base)
    with pytest.raises(BundleError, match=r"cannot be fetched: .*--from FOLDER with m\.tflite"):
        fetch(ENTRY, tmp_path, base="http://127.0.0.1:1/")


@pytest.mark.parametrize("base", ["http://example.org/", "ftp://example.org/", "file:///etc/"])
def test_only_https_is_fetched_from(tmp_path: Path, base: str) -> None:
    with pytest.raises(BundleError, match="only https"):
        fetch(ENTRY, tmp_path, base=base)


def test_a_redirect_to_something_else_than_https_is_refused(server: Server, tmp_path: Path) -> None:
    server.redirect, server.files["/elsewhere"] = server.base.replace("127.0.0.1", "localhost") + "elsewhere", MODEL
    with pytest.raises(BundleError, match="only https"):
        fetch(ENTRY, tmp_path, base=server.base)
    assert "/elsewhere" not in server.asked


def test_a_folder_does_instead_of_the_network_with_the_same_checks(tmp_path: Path) -> None:
    here, cache = tmp_path / "here", tmp_path / "cache"
    here.mkdir()
    with pytest.raises(BundleError, match=r"m\.tflite: cannot be read: No such file"):
        fetch(ENTRY, cache, folder=here)
    (here / "m.tflite").write_bytes(MODEL)
    (here / "l.txt").write_bytes(LABELS + b"x")
    with pytest.raises(BundleError, match="more than 8 bytes"):
        fetch(ENTRY, cache, folder=here)
    (here / "l.txt").write_bytes(LABELS)
    assert fetch(ENTRY, cache, folder=here)[1] == cache / "l.txt"


def test_a_cache_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        fetch(ENTRY, tmp_path / "file", base=server.base)


def test_names_not_in_the_catalogue_are_answered_with_those_that_are() -> None:
    assert find("imagenet").name == "imagenet"
    with pytest.raises(BundleError, match="there are: inat-birds, imagenet"):
        find("tigers")
    assert catalogue.BASE.startswith("https://")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_entries_are_right_about_the_real_files(entry: Entry, shared_data: Path, tmp_path: Path) -> None:
    _, names = fetch(entry, tmp_path, folder=shared_data / "tflite")
    kinds = Kinds(labels.parse(names.read_bytes(), "labels"), entry.kinds)
    assert kinds.unmatched(entry.kinds) == []
