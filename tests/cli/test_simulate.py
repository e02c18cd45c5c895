"""The verb `simulate`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli import main
from firstlight.profile import Profile

SMALL = ["simulate", "mlp", "--depth", "5", "--width", "20", "--nets", "50", "--layers", "1,5"]


def test_table_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, out = tmp_path / "s.html", tmp_path / "s.json"
    data = ["--data", "12", "--batch", "3", "--gradients"]
    assert main([*SMALL, *data, "--html", str(page), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:2] == ["layer", "q"]
    assert len(text.splitlines()) == 3
    profile = Profile.from_json(out.read_text())
    assert profile["depth"].tolist() == [1.0, 5.0]
    assert profile.source == "simulate"
    html = page.read_text()
    assert html.count("<svg") >= 5
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_json_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "simulate"


def test_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.json"
    small = ["--depth", "3", "--width", "6", "--nets", "30", "--layers", "3"]
    assert main(["simulate", "cnn", *small, "--data", "2x5x4", "--batch", "2", "--json", str(out)]) == 0
    assert "corr. theory" in capsys.readouterr().out
    assert Profile.from_json(out.read_text())["shape"].tolist() == ["(2, 6, 5, 4)"]


def test_run_folder_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--out", str(tmp_path / "run")]
    assert main([*SMALL, *folder]) == 0
    assert main([*SMALL, *folder]) == 2
    assert "pass --resume" in capsys.readouterr().err
    assert main([*SMALL, *folder, "--resume"]) == 0
    assert "32 shards were finished before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate"], "expected `mlp`, `cnn` or --sweep"),
        ([*SMALL, "--nets", "0"], "at least one network"),
        ([*SMALL, "--width", "0"], "width"),
        ([*SMALL, "--layers", "1,9"], "between 1 and the depth 5"),
        ([*SMALL, "--layers", "one"], "expected numbers such as"),
        ([*SMALL, "--workers", "0"], "at least 1"),
        ([*SMALL, "--sigma-w", "1e308"], "expected sigma_w to be at most 1e+75"),
        ([*SMALL, "--skip", "1e30"], "expected scales up to 1e+18 in float32"),
        ([*SMALL, "--norm", "batch"], "at least 2 inputs"),
        ([*SMALL, "--activation", "tanhh"], "tanh"),
        (["simulate", "cnn", "--nets", "5"], "expected images"),
        ([*SMALL, "--kernel-size", "3"], "with `cnn` only"),
        (["simulate", "mlp", "--sweep", "x.toml", "--out", "x"], "expected --sweep alone"),
        (["simulate", "--sweep", "x.toml", "--nets", "3", "--out", "x"], "got --nets too"),
        (["simulate", "--sweep", "x.toml"], "--out DIR with --sweep"),
        (["simulate", "--sweep", "absent.toml", "--out", "x"], "expected a TOML file"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
