"""``firstlight audit`` as a user runs it: real processes for the ways in, the same entry for the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from firstlight.cli import main

MODELS = """
import torch
from torch import nn

print("a user's module prints when it is imported")

def make_model():
    print("a user's factory prints too")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

def conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)
    def forward(self, x):
        return {"logits": self.body(x.flatten(1))}

INSTANCE = make_model()
NUMBER = 7

def exploding():
    layers = [nn.Flatten(), nn.Linear(64, 64)]
    for _ in range(30):
        layers += [nn.Tanh(), nn.Linear(64, 64)]
        nn.init.normal_(layers[-1].weight, std=4 / 8)
    return nn.Sequential(*layers, nn.Tanh(), nn.Linear(64, 10))

def raises():
    raise KeyError("no such\\nconfiguration")

def leaves():
    raise SystemExit(3)

def not_a_model():
    return {"weights": 1}

def needs(argument):
    return nn.Linear(argument, 2)

class Forward(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what, self.body = what, nn.Linear(64, 10)
    def forward(self, x):
        z = self.body(x.flatten(1))
        if self.what == "raises":
            raise ValueError("the model\\ndoes not want this")
        return None if self.what == "none" else z.argmax(1) if self.what == "integers" else "text"

def forward_raises(): return Forward("raises")
def returns_none(): return Forward("none")
def returns_text(): return Forward("text")
def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
def zero_width(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 0), nn.ReLU(), nn.Linear(0, 10))
def meta(): return nn.Linear(64, 10, device="meta")
def scripted(): return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
def half_scripted(): return nn.Sequential(nn.Linear(64, 64), torch.jit.script(nn.Linear(64, 64)), nn.Linear(64, 10))

def absolute(output, targets):
    return output.abs().mean()

def two_numbers(output, targets):
    return output.mean(0)

def nan_batch():
    return torch.full((8, 64), float("nan"))

def empty_batch():
    return torch.empty(0, 64)

def constant_batch():
    return torch.ones(16, 64)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a user's package and file, as the current directory."""
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "__init__.py").touch()
    (tmp_path / "my_project" / "models.py").write_text(MODELS)
    (tmp_path / "models_file.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("my_project", "models_file"))]:
        del sys.modules[name]


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own, as installed."""
    return subprocess.run(
        [sys.executable, "-m", "firstlight", "audit", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_users_module_with_every_report(project):
    done = command(
        *("my_project.models:make_model", "--data", "digits", "--batch", "64"),
        *("--html", "audit.html", "--json", "audit.json", "--check"),
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    assert "Healthy" in done.stdout
    assert "prints" not in done.stdout, "what a user's code prints is not part of our output"
    assert done.stderr.splitlines()[-1] == "firstlight audit: healthy"
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout, "plain text when not on a terminal"
    result = json.loads((project / "audit.json").read_text())
    assert result["profile"]["format"] == "firstlight-profile/1"
    assert "<svg" in (project / "audit.html").read_text()
    assert not [name for name in left(project) if name.endswith(".part")]


def test_json_alone_on_standard_output_can_be_piped(project):
    done = command("models_file.py:exploding", "--json", "-", "--check", cwd=project)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert "exploding-gradients" in {verdict["code"] for verdict in result["verdicts"]}
    last = done.stderr.splitlines()[-1]
    assert last.startswith("firstlight audit: unhealthy: ")
    assert "exploding-gradients" in last


def test_a_console_without_greek_letters(project):
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = command("models_file.py:make_model", "--json", "-", cwd=project, **ascii_only)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"]
    shown = command("--help", cwd=project, **ascii_only)
    assert shown.returncode == 0, shown.stderr
    assert "weights have variance" in shown.stdout


def test_a_broken_pipe_is_no_traceback(project):
    process = subprocess.Popen(
        [sys.executable, "-m", "firstlight", "audit", "mlp", "--depth", "3", "--width", "16"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=project,
        text=True,
    )
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=240)
    assert "Traceback" not in error
    assert "Exception ignored" not in error


def test_a_raising_factory_is_one_line_in_a_real_process(project):
    done = command("my_project.models:raises", cwd=project)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        "firstlight audit: error: while calling the model factory 'my_project.models:raises'"
    )
    assert "KeyError" in line
    assert "configuration" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["my_project.models:INSTANCE"],
        ["my_project.models:Net"],
        ["models_file.py:make_model", "--eval", "--loss", "none"],
        ["models_file.py:make_model", "--dtype", "float64", "--loss", "models_file.py:absolute"],
        ["models_file.py:make_model", "--dtype", "bfloat16", "--loss", "torch.nn:CrossEntropyLoss"],
        ["models_file.py:make_model", "--loss", "cross-entropy", "--split", "test", "--device", "cpu"],
        ["models_file.py:conv", "--data", "3x8x8", "--batch", "16"],
        ["models_file.py:make_model", "--data", "8x8", "--normalise", "raw"],
        ["models_file.py:make_model", "--data", "models_file.py:constant_batch"],
        [
            "mlp",
            "--depth",
            "2",
            "--width",
            "16",
            "--norm",
            "batch",
            "--weights",
            "uniform",
            "--sigma-b",
            "0.1",
        ],
        ["mlp", "--depth", "2", "--width", "16", "--activation", "relu", "--outputs", "3", "--loss", "none"],
        ["mlp", "--depth", "1", "--width", "16", "--batch", "1"],
    ],
)
def test_ways_to_name_models_data_and_losses(project, arguments, capsys):
    assert main(["audit", *arguments, "--quiet", "--json", "out.json"]) == 0
    assert capsys.readouterr().out == ""
    result = json.loads((project / "out.json").read_text())
    names = result["profile"]["columns"]["kind"]
    assert names.count("weight") >= 1


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_random_state(project):
    before = torch.get_rng_state()
    numbers = []
    for seed in ("1", "1", "2"):
        main(["audit", "models_file.py:make_model", "--seed", seed, "--quiet", "--json", "a.json"])
        numbers.append(json.loads((project / "a.json").read_text())["profile"]["columns"]["q"])
    assert numbers[0] == numbers[1]
    assert numbers[0] != numbers[2]
    assert torch.equal(before, torch.get_rng_state())


def test_an_unhealthy_model_is_told_of_the_way_out(project, capsys):
    assert main(["audit", "models_file.py:exploding"]) == 0
    assert "`firstlight fix`, with the same model and data" in capsys.readouterr().out
    assert main(["audit", "models_file.py:make_model"]) == 0
    assert "firstlight fix" not in capsys.readouterr().out


def test_check_is_what_makes_an_unhealthy_model_fail(project, capsys):
    assert main(["audit", "models_file.py:exploding", "--quiet"]) == 0
    assert main(["audit", "models_file.py:exploding", "--quiet", "--check"]) == 1
    assert capsys.readouterr().err.count("unhealthy:") == 1


def test_arrays_from_a_file(project):
    rng = np.random.default_rng(0)
    np.savez(project / "set.npz", inputs=rng.normal(size=(40, 64)), targets=rng.integers(0, 10, 40))
    assert main(["audit", "models_file.py:make_model", "--data", "set.npz", "--quiet"]) == 0


BAD = [
    (["nothing"], "got no colon"),
    (["my_project.absent:make"], "expected an importable module"),
    (["my_project.models:absent"], "got no such name"),
    (["absent.py:make"], "got no such file"),
    (["my_project.models:raises"], "KeyError"),
    (["my_project.models:leaves"], "SystemExit: 3"),
    (["my_project.models:not_a_model"], "got dict"),
    (["my_project.models:NUMBER"], "got int"),
    (["my_project.models:needs"], "called without arguments"),
    (["my_project.models:make_model", "--depth", "3"], "shapes the builtin mlp only"),
    (["my_project.models:forward_raises"], "ValueError: the model"),
    (["my_project.models:returns_none"], "got None"),
    (["my_project.models:returns_text"], "got str"),
    (["my_project.models:scripted"], "scripted model"),
    (["my_project.models:conv"], "(256, 1, 8, 8)"),
    (["my_project.models:normalised", "--batch", "1"], "larger batch"),
    (["my_project.models:make_model", "--data", "nothing"], "got none of them"),
    (["my_project.models:make_model", "--data", "digits", "--batch", "0"], "got 0"),
    (["my_project.models:make_model", "--data", "digits", "--batch", "-5"], "got -5"),
    (["my_project.models:make_model", "--data", "1" * 5000], "got longer sizes"),
    (["my_project.models:make_model", "--data", "mnist", "--data-dir", "absent"], "got no such file"),
    (["my_project.models:make_model", "--data", "models_file.py:nan_batch"], "NaN"),
    (["my_project.models:make_model", "--data", "models_file.py:empty_batch"], "empty"),
    (["my_project.models:make_model", "--data", "models_file.py:raises"], "KeyError"),
    (["my_project.models:make_model", "--loss", "hinge"], "got 'hinge'"),
    (["my_project.models:make_model", "--loss", "models_file.py:NUMBER"], "expected a function"),
    (["my_project.models:make_model", "--loss", "models_file.py:two_numbers"], "one number"),
    (["my_project.models:make_model", "--data", "8x8", "--loss", "mse"], "data with targets"),
    (["my_project.models:make_model", "--device", "nowhere"], "while moving the model"),
    (
        ["my_project.models:make_model", "--loss", "torch.nn:Linear"],
        "while making the loss 'torch.nn:Linear'",
    ),
    (["mlp", "--outputs", "99999999999999999999"], "weights that fit into memory"),
    (["mlp", "--depth", "99999999999999999999"], "weights that fit into memory"),
    (["mlp", "--depth", "0"], "depth ≥ 1"),
    (["mlp", "--width", "0"], "width ≥ 1"),
    (["mlp", "--sigma-w", "-1"], "sigma_w ≥ 0"),
    (["mlp", "--sigma-w", "nan"], "sigma_w ≥ 0"),
    (["mlp", "--activation", "nothing"], "nothing"),
    (["mlp", "--norm", "group"], "got 'group'"),
    (["mlp", "--weights", "nothing"], "weight law"),
    (["mlp", "--html", "absent/audit.html"], "nothing was run"),
    (["mlp", "--html", "."], "got a folder"),
    (["mlp", "--json", ""], "empty path"),
    (["mlp", "--json", "same", "--html", "same"], "expected two files"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_bad_input_is_one_clear_line_and_status_two(project, arguments, message, capsys):
    before = left(project)
    assert main(["audit", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if "prints" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("firstlight audit: error: ")
    assert message in lines[0]
    assert "unexpected" not in lines[0], "an error that nobody foresaw"
    assert left(project) - before <= {"__pycache__"}


def test_a_folder_without_the_right_to_write(project, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere, so the answer is given
    assert main(["audit", "mlp", "--html", "audit.html"]) == 2
    assert "no right to write" in capsys.readouterr().err


def test_a_report_that_fails_halfway_leaves_nothing(project, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main(["audit", "mlp", "--depth", "2", "--width", "8", "--quiet", "--html", "a.html"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert left(project) == {"my_project", "models_file.py"}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_parameters_that_nobody_could_watch_are_not_called_unused(project, capsys):
    arguments = ["models_file.py:half_scripted", "--data", "64", "--loss", "none", "--json", "-"]
    assert main(["audit", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "unused-parameters" not in {verdict["code"] for verdict in result["verdicts"]}
    assert any("scripted" in skipped["reason"] for skipped in result["skipped"])


@pytest.mark.parametrize("name", ["zero_width", "meta"])
def test_models_that_cannot_be_measured_whole_say_so(project, name, capsys):
    status = main(["audit", f"my_project.models:{name}", "--json", "-"])
    printed = capsys.readouterr()
    if status == 2:
        assert "firstlight audit: error: " in printed.err
        assert "unexpected" not in printed.err
    else:
        result = json.loads(printed.out)
        assert result["skipped"] or result["notes"] or result["verdicts"]
