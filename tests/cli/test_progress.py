"""What the library logs becomes a line on the error stream every few seconds."""

from __future__ import annotations

import logging
import time

import pytest

from firstlight.cli.progress import progress_lines


def test_lines_come_after_a_second_and_then_every_three(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([10.0, 10.5, 11.5, 12.5, 14.4, 14.6])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    logger = logging.getLogger("firstlight.somewhere")
    before = logging.getLogger("firstlight").level
    with progress_lines():
        for number in range(6):
            logger.info("step %d", number)
    logger.info("step 6")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["firstlight: step 2", "firstlight: step 5"]
    assert logging.getLogger("firstlight").level == before
