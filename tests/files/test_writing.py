import os
import stat

import pytest

from firstlight.errors import FirstlightError
from firstlight.files import WriteError, write_whole


def test_the_text_is_there_in_utf8_and_nothing_else_is(tmp_path):
    path = write_whole(tmp_path / "a.html", "σ_w\r\nχ₁\n")
    assert path.read_bytes() == "σ_w\r\nχ₁\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    assert write_whole(tmp_path / "a", "").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("name", ["none/a.html", "file/a.html", "", "x" * 300])
def test_a_path_that_cannot_be_written_is_one_clear_error_and_leaves_nothing(tmp_path, name):
    (tmp_path / "file").write_text("")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(WriteError, match=r"while writing .*expected .*got") as caught:
        write_whole(tmp_path / name, "text")
    assert isinstance(caught.value, (FirstlightError, OSError))
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_failure_half_way_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_text_that_is_not_unicode_is_an_error_and_not_half_a_file(tmp_path):
    with pytest.raises(WriteError):
        write_whole(tmp_path / "a.html", "x" * 100_000 + "\ud800")
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_to_and_never_replaced(tmp_path):
    read, write = os.pipe()
    try:
        write_whole(f"/dev/fd/{write}", "through")
        assert os.read(read, 100) == b"through"
    finally:
        os.close(read)
        os.close(write)
