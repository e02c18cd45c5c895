"""What verbs write: paths are tried before work begins, and a failure late in a run loses nothing else."""

import json
import subprocess
import sys

import pytest

from firstlight.cli import main
from firstlight.cli.command import VERBS

RUNS = {
    "audit": ["audit", "mlp", "--depth", "2", "--width", "4", "--data", "8", "--batch", "6", "--quiet"],
    "fix": ["fix", "mlp", "--depth", "2", "--width", "4", "--data", "8", "--batch", "6", "--quiet"],
    "predict": ["predict", "mlp", "--depth", "2", "--width", "4"],
    "simulate": ["simulate", "mlp", "--depth", "2", "--width", "4", "--nets", "8", "--quiet"],
    "edge": ["edge", "tanh"],
    "pair": ["pair", "weibull", "--theta", "3"],
    "bn": ["bn", "--depth", "2", "--width", "4", "--data", "8", "--batch", "6"],
    "init": ["init", "mlp", "--depth", "2", "--width", "4", "--data", "8", "--batch", "6", "--recipe", "he"],
    "train": ["train", "mlp", "--depth", "1", "--width", "4", "--data", "digits", "--epochs", "1"],
    "reproduce": ["reproduce", "E2", "--nets", "3", "--widths", "2", "--networks", "relu"],
}


def test_every_verb_is_here():
    # plot reads the table of a run, recipes has no page
    assert set(RUNS) | {"plot", "recipes"} == set(VERBS)


@pytest.mark.parametrize("verb", RUNS)
@pytest.mark.parametrize(
    "path",
    ["none/a.html", "", ".", "~nobody-of-this-name/x/a", "a\0b", "x" * 300, "/proc/a.html", "/dev/null/a"],
)
def test_a_path_that_cannot_be_written_stops_the_verb_before_work(verb, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"firstlight.cli.verbs.{verb}.run", lambda args: pytest.fail("work began"))
    for flag in ("--html", "--json"):
        assert main([*RUNS[verb], flag, path]) == 2
        told = capsys.readouterr().err
        assert "nothing was run" in told
        assert len(told.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "flag"), [("simulate", "--out"), ("reproduce", "--out"), ("bn", "--checkpoints")]
)
def test_a_folder_that_cannot_be_ours_stops_the_verb_before_work(verb, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(f"firstlight.cli.verbs.{verb}.run", lambda args: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for path in ("file", "file/below", "open"):
        assert main([*RUNS[verb], flag, str(tmp_path / path)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_home_folder_is_expanded_by_every_flag(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*RUNS["simulate"], "--json", "~/a.json", "--html", "~/a.html", "--out", "~/run"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.json", "run"]


def test_two_flags_do_not_share_a_file(tmp_path, capsys):
    path = str(tmp_path / "a")
    assert main([*RUNS["edge"], "--json", path, "--html", f"{tmp_path}/../{tmp_path.name}/a"]) == 2
    assert "expected two files" in capsys.readouterr().err


def test_a_full_disk_for_one_file_leaves_the_others_and_says_so(tmp_path, capsys):
    page = tmp_path / "a.html"
    assert main([*RUNS["edge"], "--json", "/dev/full", "--html", str(page)]) == 2
    told = capsys.readouterr()
    assert "No space left" in told.err
    assert "all else was written" in told.err
    assert "edge of chaos" in told.out
    assert page.stat().st_size > 1000


@pytest.mark.parametrize(
    ("redirection", "message"),
    [(">/dev/full", "No space left on device"), (">&-", "it is closed"), ("| head -c 1", "")],
)
def test_output_that_nobody_takes_does_not_cost_the_files(redirection, message, tmp_path):
    command = f"{sys.executable} -m firstlight edge tanh --json {tmp_path}/a.json {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert json.loads((tmp_path / "a.json").read_text())["activation"] == "tanh"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == bool(message)
    assert message in done.stderr
    if message:
        assert done.returncode == 2


def test_json_alone_on_standard_output_and_the_page_beside_it(tmp_path, capsys):
    page = tmp_path / "a.html"
    for verb in ("edge", "predict", "pair"):
        assert main([*RUNS[verb], "--json", "-", "--html", str(page)]) == 0
        json.loads(capsys.readouterr().out)
        assert page.exists()
        page.unlink()


HOSTILE = """
import torch
from torch import nn

class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("\\x1b]0;title\\x07\\x1b[2J\\x9b1A\\u202e", nn.Linear(8, 8))
        self.act = nn.Tanh()
    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x

def broken():
    raise RuntimeError("\\x1b]0;title\\x07\\x1b[2J")
"""


@pytest.mark.parametrize("arguments", [["Hostile"], ["Hostile", "--json", "-"], ["broken"], ["\x1b[2Jx"]])
def test_no_name_moves_the_cursor_of_a_terminal(arguments, tmp_path, capsys):
    (tmp_path / "hostile.py").write_text(HOSTILE)
    main(["audit", f"{tmp_path}/hostile.py:{arguments[0]}", "--data", "8", "--batch", "6", *arguments[1:]])
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not any(mark in text for mark in "\x1b\x07\x9b\u202e\r")
