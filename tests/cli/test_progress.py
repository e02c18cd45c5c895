"""What the library logs becomes a line on the error stream every few seconds, in a pipe too."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace

import pytest

from firstlight.cli import main
from firstlight.cli.progress import _Paced, progress_lines


def test_lines_come_after_a_second_and_then_every_three(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([9.0, 9.5, 9.9, 10.5, 12.5, 13.4, 13.6])
    monkeypatch.setattr("firstlight.cli.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    logger = logging.getLogger("firstlight.somewhere")
    before = logging.getLogger("firstlight").level
    with progress_lines():
        for number in range(6):
            logger.info("step %d", number)
    logger.info("step 6")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["firstlight: step 2 (2 s)", "firstlight: step 5 (5 s)"]
    assert logging.getLogger("firstlight").level == before


def test_a_step_that_takes_long_is_told_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seconds in (("_FIRST", 0.05), ("_EVERY", 0.1), ("_BEAT", 0.02)):
        monkeypatch.setattr(f"firstlight.cli.progress.{name}", seconds)
    with progress_lines():
        time.sleep(0.1)
        logging.getLogger("firstlight.somewhere").info("a long step")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("firstlight: a long step (") for line in lines)


def test_the_pause_before_the_same_line_doubles_and_what_is_new_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = _Paced()
    now = [handler._start]
    monkeypatch.setattr("firstlight.cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))

    def tell(message: str) -> None:
        handler.emit(logging.makeLogRecord({"msg": message}))

    tell("a")
    for _ in range(200):
        now[0] += 1
        handler.beat()
    tell("b")
    for _ in range(4):
        now[0] += 1
        handler.beat()
    told = [line.split("(")[1] for line in capsys.readouterr().err.splitlines()]
    # after 1 s, then after 3, 6, 12, 24, 48 and 60 seconds; the new one at most 3 seconds after it came
    assert told == ["1 s)", "4 s)", "10 s)", "22 s)", "46 s)", "94 s)", "154 s)", "203 s)"]


def test_a_simulation_in_a_pipe_says_its_cost_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("_FIRST", "_EVERY"):
        monkeypatch.setattr(f"firstlight.cli.progress.{name}", 0.0)
    assert main(["simulate", "mlp", "--depth", "3", "--width", "8", "--nets", "64"]) == 0
    err = capsys.readouterr().err
    # one input of 100 features, a layer of 100 × 8 and two of 8 × 8, 64 networks: 59 392
    assert "firstlight: drawing 64 networks, 59392 multiplications (" in err
    assert "firstlight: networks: 64 of 64" in err
