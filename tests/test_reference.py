"""Public names are documented names: the reference is written from the rooms, and every name says what it is."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

import firstlight

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "_ext"))

import reference


def test_the_reference_has_every_room():
    rooms = {
        f"firstlight.{name}" for name in firstlight.__all__ if inspect.ismodule(getattr(firstlight, name))
    }
    assert rooms <= set(reference.ROOMS)


@pytest.mark.parametrize("room", reference.ROOMS)
def test_every_public_name_says_what_it_is(room):
    entries = reference.public_names(room)
    assert entries, f"{room} shows nothing"
    silent = [entry.path for entry in entries if entry.kind != "data" and not inspect.getdoc(entry.thing)]
    assert not silent, silent


@pytest.mark.parametrize("room", reference.ROOMS)
def test_a_table_of_contents_shows_all_its_names_and_no_others(room):
    """What a room holds beyond the names it shows is private or a room of its own."""
    module = importlib.import_module(room)
    if not hasattr(module, "__path__"):
        return
    shown = {entry.name.split(".")[0] for entry in reference.public_names(room)}
    held = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "").startswith("firstlight")
    }
    assert held <= shown, held - shown


def test_pages_are_written_for_every_name(tmp_path):
    reference.write(tmp_path / "reference")
    for room in reference.ROOMS:
        page = (tmp_path / "reference" / f"{room}.md").read_text(encoding="utf-8")
        for entry in reference.public_names(room):
            assert entry.name in page
            assert entry.kind == "data" or (tmp_path / "reference" / f"{entry.page}.md").exists()
