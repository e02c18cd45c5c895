"""The front of the command: help, version, unknown verbs, and what becomes of errors."""

import subprocess
import sys

import pytest

from firstlight import __version__
from firstlight.cli import VERBS, main
from firstlight.cli import command as command_module
from firstlight.errors import LoadError


class Stub:
    """A verb that does as it is told."""

    def __init__(self, outcome):
        self.outcome = outcome

    def configure(self, parser):
        parser.add_argument("--number", type=int)

    def run(self, args):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def verb(monkeypatch):
    """Run ``main`` with the audit verb replaced by a stub of this outcome."""

    def run(outcome, *arguments):
        monkeypatch.setattr(command_module.importlib, "import_module", lambda _: Stub(outcome))
        return main(["audit", *arguments])

    return run


def test_help_and_version_do_not_import_torch():
    code = (
        "import sys\n"
        "from firstlight.cli import main\n"
        "for flag in ('--version', '--help'):\n"
        "    try:\n"
        "        main([flag])\n"
        "    except SystemExit as leave:\n"
        "        assert not leave.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout
    for name, known in VERBS.items():
        assert name in done.stdout
        assert known.summary.split()[0] in done.stdout


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_help(name, capsys):
    with pytest.raises(SystemExit) as leave:
        main([name, "--help"])
    assert leave.value.code == 0
    assert f"usage: firstlight {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: VERB"),
        (["adit"], "invalid choice: 'adit'"),
        (["--nope"], "required: VERB"),
        (["audit"], "required: MODEL"),
        (["audit", "mlp", "--batch", "many"], "invalid int value: 'many'"),
        (["audit", "mlp", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["audit", "mlp", "--nope"], "unrecognized arguments: --nope"),
        (["audit", "mlp", "--nope\n3\x1b[2J"], "unrecognized arguments: --nope\\n3\\x1b[2J"),
        (["audit", "mlp", "--train", "--eval"], "not allowed with argument"),
    ],
)
def test_usage_errors_are_one_line_and_status_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    assert leave.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_of_the_verb_is_the_status_of_the_command(verb, status):
    assert verb(status) == status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            LoadError("while loading:\n  expected one, got\ttwo"),
            "error: while loading: expected one, got two\n",
        ),
        (ZeroDivisionError("nobody\nforesaw this"), "unexpected ZeroDivisionError: nobody foresaw this (set"),
    ],
)
def test_errors_are_one_line_and_status_two(verb, error, expected, capsys):
    assert verb(error) == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert printed.count("\n") == 1


def test_a_traceback_is_there_for_who_asks(verb, monkeypatch):
    monkeypatch.setenv("FIRSTLIGHT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        verb(ZeroDivisionError())


def test_an_interrupt_is_no_traceback(verb, capsys):
    assert verb(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "firstlight audit: interrupted\n"


@pytest.mark.parametrize(
    "arguments", [["edge", "tanh", "--sigma-w=--"], ["audit", "mlp", "--seed=99999999999999999999"]]
)
def test_a_value_that_no_verb_can_take_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    assert left.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
