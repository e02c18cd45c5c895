"""What the documentation prints is what the program prints, and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest

from firstlight.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs" / "guide").glob("*.md")])
# pages whose Python stands alone, run from top to bottom
RUN = ("quick-start", "pairs", "predict-and-simulate", "batch-norm")

# the model that the pages call my_project.models:make_model: 50 ReLU layers of width 64 as torch starts them
MY_PROJECT = """
from torch import nn
def make_model():
    layers = [layer for _ in range(50) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10))
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


def matches(shown: str, printed: str) -> bool:
    """Whether a text is the printed one with some stretches of whole lines left out, each marked by a line "…"."""
    pieces = [
        "\n".join(line.rstrip() for line in piece.strip("\n").split("\n"))
        for piece in re.split(r"^\s*…$", shown, flags=re.MULTILINE)
    ]
    text = "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    pattern = r"(?:.*\n)*?".join(re.escape(piece) + ("\n" if piece else "") for piece in pieces)
    return re.fullmatch(pattern, text + "\n", re.DOTALL) is not None


def test_the_comparison_can_fail():
    assert matches("a\n…\nd\n", "a\nb\nc\nd\n")
    assert not matches("a\n…\nd\n", "a\nb\nc\n")
    assert not matches("a\n", "a\nb\n")


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
