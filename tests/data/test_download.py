"""The downloader, against a local server: checked, atomic, and only when asked."""

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from firstlight.data import RemoteFile, fetch
from firstlight.errors import LoadError


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path):
    """A server of the folder ``tmp_path/there``: its address, its folder, and what it was asked for."""
    there = tmp_path / "there"
    there.mkdir()
    handler = functools.partial(Quiet, directory=str(there))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", there, running.asked
        running.shutdown()
        thread.join()


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def tarball(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, raw in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return out.getvalue()


def test_a_good_file_lands_where_it_belongs(server, tmp_path):
    url, there, asked = server
    raw = gzip.compress(b"pixels" * 1000)
    (there / "a.gz").write_bytes(raw)
    file = RemoteFile(f"{url}/a.gz", "SET/raw/a.gz", digest(raw))
    here = tmp_path / "new" / "here"
    assert fetch(file, here).read_bytes() == raw
    assert left(here) == ["SET/raw/a.gz"]
    fetch(file, here)
    assert len(asked) == 1, "a file that is there is not fetched again"


def test_a_wrong_digest_leaves_nothing(server, tmp_path):
    url, there, _ = server
    (there / "a").write_bytes(b"other")
    with pytest.raises(LoadError, match=r"expected sha256 .*, got .* \(5 bytes\).*nothing was kept"):
        fetch(RemoteFile(f"{url}/a", "a", digest(b"right")), tmp_path / "here")
    assert left(tmp_path / "here") == []


def test_a_refusal_and_an_absent_server_are_load_errors(server, tmp_path):
    url, _, _ = server
    with pytest.raises(LoadError, match="404"):
        fetch(RemoteFile(f"{url}/none", "a", digest(b"")), tmp_path / "here")
    with pytest.raises(LoadError, match="check the network"):
        fetch(RemoteFile("http://127.0.0.1:9/a", "a", digest(b"")), tmp_path / "here")
    assert left(tmp_path / "here") == []


def test_a_folder_that_cannot_be_made_is_a_load_error(server, tmp_path):
    url, there, _ = server
    (there / "a").write_bytes(b"x")
    (tmp_path / "here").write_text("a file, not a folder")
    with pytest.raises(LoadError, match=r"NotADirectoryError|FileExistsError"):
        fetch(RemoteFile(f"{url}/a", "sub/a", digest(b"x")), tmp_path / "here")


def test_an_archive_is_unpacked_whole(server, tmp_path):
    url, there, _ = server
    raw = tarball({"set/one": b"1", "set/deep/two": b"2"})
    (there / "set.tar.gz").write_bytes(raw)
    folder = fetch(RemoteFile(f"{url}/set.tar.gz", "set", digest(raw), archive=True), tmp_path / "here")
    assert folder == tmp_path / "here" / "set"
    assert left(tmp_path / "here") == ["set/deep/two", "set/one"]


@pytest.mark.parametrize("name", ["other/one", "../one", "/one", "set/../../one"])
def test_an_archive_that_reaches_outside_leaves_nothing(server, tmp_path, name):
    url, there, _ = server
    raw = tarball({"set/good": b"1", name: b"bad"})
    (there / "set.tar.gz").write_bytes(raw)
    with pytest.raises(LoadError):
        fetch(RemoteFile(f"{url}/set.tar.gz", "set", digest(raw), archive=True), tmp_path / "here")
    assert left(tmp_path / "here") == []
    assert not (tmp_path / "one").exists()


def test_something_that_is_no_archive_is_a_load_error(server, tmp_path):
    url, there, _ = server
    (there / "a").write_bytes(b"no archive")
    with pytest.raises(LoadError, match="ReadError"):
        fetch(RemoteFile(f"{url}/a", "set", digest(b"no archive"), archive=True), tmp_path / "here")
    assert left(tmp_path / "here") == []


@pytest.mark.parametrize(
    "wrong", ["md5:" + hashlib.md5(b"a").hexdigest(), "sha256:", "", "sha256:" + "g" * 64, "sha1:00"]
)
def test_what_is_no_sha256_is_refused_before_anything_is_asked(server, tmp_path, wrong):
    url, there, asked = server
    (there / "a").write_bytes(b"a")
    with pytest.raises(LoadError, match="expected a digest of the form sha256:"):
        fetch(RemoteFile(f"{url}/a", "a", wrong), tmp_path / "here")
    assert asked == []
    assert not (tmp_path / "here").exists()


def odd(name, kind, link=""):
    """An archive with one member that is no plain file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        archive.addfile(entry)
    return out.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        odd("set/l", tarfile.SYMTYPE, "/etc/passwd"),
        odd("set/l", tarfile.LNKTYPE, "../../../etc/passwd"),
        odd("set/d", tarfile.CHRTYPE),
        tarball({"set/a": b"a", "set/../../b": b"b"}),
        tarball({"set": b"a file in the place of the folder"}),
        tarball({}),
    ],
    ids=["symbolic link", "hard link", "device", "dots", "file", "empty"],
)
def test_an_archive_of_anything_but_files_in_its_folder_leaves_nothing(server, tmp_path, raw):
    url, there, _ = server
    (there / "set.tgz").write_bytes(raw)
    with pytest.raises(LoadError, match=r"while unpacking .* expected .*set/.*nothing was kept"):
        fetch(RemoteFile(f"{url}/set.tgz", "set", digest(raw), archive=True), tmp_path / "here")
    assert left(tmp_path) == ["there/set.tgz"]
