"""What the documentation prints is what the program prints, and its Python runs."""

import math
import re
import shlex
from pathlib import Path

import pytest

from firstlight.cli import main
from firstlight.cli.command import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs" / "guide").glob("*.md")])
# pages whose Python stands alone, run from top to bottom
RUN = (
    "quick-start", "recipes", "pairs", "training", "predict-and-simulate", "batch-norm", "representations", "blocks",
    "holding",
)  # fmt: skip

# the model that the pages call my_project.models:make_model: 50 ReLU layers of width 64 as torch starts them
MY_PROJECT = """
from torch import nn
def make_model():
    layers = [layer for _ in range(50) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))
"""


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def _shown() -> list[tuple[str, str]]:
    """Each command of the pages that is shown with output, and that output."""
    shown = []
    for page in PAGES:
        for block in _blocks(page, "console"):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith("firstlight") and output.strip():
                    shown.append((command, output))
    return shown


def _same(shown: list[str], printed: list[str]) -> bool:
    """Whether lines are the same word by word; numbers may differ by 3 %, as rounding grows in a chaotic network."""

    def alike(one: str, other: str) -> bool:
        try:
            return one == other or math.isclose(float(one), float(other), rel_tol=0.03)
        except ValueError:
            return False

    words = [(a.split(), b.split()) for a, b in zip(shown, printed, strict=True)]
    return all(len(a) == len(b) and all(map(alike, a, b)) for a, b in words)


def matches(shown: str, printed: str) -> bool:
    """Whether a text is the printed one with some stretches of whole lines left out, each marked by a line "…"."""
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    at, gap = 0, False
    for piece in re.split(r"^\s*…$", shown, flags=re.MULTILINE):
        wanted = [line.rstrip() for line in piece.strip("\n").split("\n")] if piece.strip("\n") else []
        starts = range(at, len(lines) - len(wanted) + 1) if gap else [at]
        found = next((start for start in starts if _same(wanted, lines[start : start + len(wanted)])), None)
        if found is None:
            return False
        at, gap = found + len(wanted), True
    return at == len(lines) or not wanted


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/guide/command-line.md"])
def test_the_front_pages_name_every_verb(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"firstlight {verb}" not in text] == []


def test_the_comparison_can_fail():
    assert matches("a\n…\nd\n", "a\nb\nc\nd\n")
    assert not matches("a\n…\nd\n", "a\nb\nc\n")
    assert not matches("a\n", "a\nb\n")
    assert matches("…\nb\n…\n", "a\nb\nc\n")
    assert matches("a\n…\n", "a\nb\nc\n")
    assert matches("q  1.02\n", "q 1.0\n")
    assert not matches("q  1.1\n", "q 1.0\n")


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "__init__.py").touch()
    (tmp_path / "my_project" / "models.py").write_text(MY_PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), _shown(), ids=[command for command, _ in _shown()])
def test_shown_output_is_printed_output(command, shown, project, capsys):
    main(shlex.split(command)[1:])
    printed = capsys.readouterr().out
    assert matches(shown, printed), printed


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_page_runs(name, project, capsys):
    from my_project.models import make_model

    import firstlight

    data = firstlight.data.load("digits", count=64)
    names = {"make_model": make_model, "batch": data.inputs, "targets": data.targets}
    for block in _blocks(ROOT / "docs" / "guide" / f"{name}.md", "python"):
        exec(compile(block, name, "exec"), names)
