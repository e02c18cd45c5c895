"""Folders of our own, names inside them, the lock, and the sweep of leftovers."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import FirstlightError, RunError
from firstlight.files import TrustError, WriteError, locked, named_inside, own_folder, sweep_leftovers


def test_a_new_folder_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        assert own_folder(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("rights", [0o770, 0o707, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_refused(tmp_path, rights):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(rights)
    with pytest.raises(TrustError, match=r"its owner alone may write.*chmod go-w"):
        own_folder(tmp_path / "a")


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(TrustError, match="belongs to this user"):
        own_folder(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/below", "a\0b"])
def test_what_cannot_be_a_folder_is_said_in_one_sentence(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="while making the folder"):
        own_folder(tmp_path / place)


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_name_leads_out_of_the_folder_and_no_two_names_meet(name, other):
    path = named_inside("/runs", name, ".pt")
    assert os.path.dirname(os.path.abspath(path)) == "/runs"
    assert path.name.isascii()
    assert len(path.name) < 100
    assert not path.name.startswith((".", "-"))
    assert (path == named_inside("/runs", other, ".pt")) == (name == other)


@pytest.mark.parametrize(
    "name",
    ["/abs/x.npz", "../../up", "C:\\win", "a/../../b", "", ".", "..", "nul\0byte", "\ud800", "x" * 5000],
)
def test_hostile_names_become_plain_ones(name):
    assert str(named_inside("runs", name, ".pt")).startswith("runs" + os.sep)


HOLDER = """
import sys, time
from pathlib import Path
from firstlight.files import locked
with locked(Path(sys.argv[1]), "holding"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match="another process at work"), locked(path, "a test"):
                raise AssertionError("entered")
        finally:
            holder.kill()
    with locked(path, "a test"):
        assert path.exists()
    assert not path.exists()


def test_one_process_does_not_enter_twice(tmp_path):
    with locked(tmp_path / ".lock", "a test"), pytest.raises(RunError), locked(tmp_path / ".lock", "a test"):
        raise AssertionError("entered twice")


def test_a_lock_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(FirstlightError, match="while a test"), locked(tmp_path / ".lock", "a test"):
        raise AssertionError("entered")


def test_only_our_own_temporary_files_are_swept(tmp_path):
    ours = [".run.pt.ab12cd_9.part", ".plan.json.abcdefgh.part"]
    others = ["run.pt", ".part", ".mine.part", "notes.ab12cd_9.part", ".x.ABCDEFGH.part"]
    for name in ours + others:
        (tmp_path / name).write_text("")
    sweep_leftovers(tmp_path, "run.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([ours[1], *others])
    sweep_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)
