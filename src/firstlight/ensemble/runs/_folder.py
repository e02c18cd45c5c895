"""A run's folder: its plan, its finished shards, and the refusal to mix two plans."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from firstlight.ensemble.plan import Plan
from firstlight.ensemble.runs._storage import decode_shard, encode_shard, write_atomically
from firstlight.ensemble.sums._state import LayerState, pack, unpack
from firstlight.errors import RunError

FORMAT = "firstlight-run/2"


@dataclass(frozen=True)
class Folder:
    """The folder of one run: ``plan.json``, one file per finished shard in ``shards/``, ``profile.json``.

    Attributes
    ----------
    path
        Where it is.
    text
        The plan as JSON text, with the fingerprint of the inputs and torch's version, which fixes the streams.
    """

    path: Path
    text: str

    @classmethod
    def open(cls, path: Path, plan: Plan, inputs: str, *, resume: bool) -> Folder:
        """Make the folder, or open the one of an earlier attempt at the same plan.

        Raises
        ------
        RunError
            The folder holds another plan (the difference is shown), or this one and ``resume`` is not set, or
            something that is not a run, or it cannot be made.
        """
        folder = cls(path, _text(plan, inputs))
        try:
            (path / "shards").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"while making the run folder '{path}': {error.strerror or error}") from error
        written = path / "plan.json"
        if not written.exists():
            others = sorted(p.name for p in path.iterdir() if p.name not in ("shards", ".lock"))
            if others or any(folder.shards.glob("*.shard")):
                raise RunError(
                    f"while starting a run in '{path}': expected an empty folder or a run, got files such as "
                    f"{(others or ['shards without a plan'])[0]!r}; choose another folder"
                )
            write_atomically(written, folder.text.encode())
            return folder
        before = written.read_text(encoding="utf-8")
        if before != folder.text:
            lines = difflib.unified_diff(
                before.splitlines(), folder.text.splitlines(), "the folder's plan", "this plan", "", "", 0, ""
            )
            changes = "\n".join(line for line in lines if not line.startswith("@@"))
            raise RunError(
                f"while opening the run '{path}': expected the plan it was started with, got another one; "
                f"choose another folder or undo the change:\n{changes}"
            )
        if not resume:
            raise RunError(
                f"while starting a run in '{path}': expected an empty folder, got an earlier attempt at this "
                "very plan; pass --resume (resume=True) to finish it"
            )
        return folder

    @property
    def shards(self) -> Path:
        """Where the shards are."""
        return self.path / "shards"

    @property
    def plan_digest(self) -> str:
        """Fingerprint of the plan, written into every shard."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def write(self, index: int, state: Mapping[int, LayerState]) -> None:
        """Store a finished shard, whole or not at all."""
        data = encode_shard(self.plan_digest, index, pack(state))
        write_atomically(self._file(index), data)

    def read(self, index: int) -> dict[int, LayerState]:
        """A stored shard.

        Raises
        ------
        RunError
            It is damaged or of another plan.
        """
        return unpack(decode_shard(self._file(index).read_bytes(), self.plan_digest, index))

    def missing(self, count: int) -> tuple[list[int], list[int]]:
        """Numbers of the shards that are to be computed, and those of them that were there but damaged."""
        for leftover in self.shards.glob(".*.tmp"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        wanted, damaged = [], []
        for index in range(count):
            if not self._file(index).exists():
                wanted.append(index)
                continue
            try:
                decode_shard(self._file(index).read_bytes(), self.plan_digest, index)
            except RunError:
                damaged.append(index)
        return sorted(wanted + damaged), damaged

    def _file(self, index: int) -> Path:
        return self.shards / f"{index:06d}.shard"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine out; the lock dies with its process.

        Raises
        ------
        RunError
            Another process is at work here.
        """
        try:
            import fcntl
        except ImportError:  # not a POSIX system: no lock, and writes are still atomic
            yield
            return
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"while opening the run '{self.path}': another process is at work in it; wait for it"
                ) from error
            yield


def _text(plan: Plan, inputs: str) -> str:
    data: dict[str, Any] = {"format": FORMAT, "torch": torch.__version__.split("+")[0], "inputs": inputs}
    return json.dumps(data | plan.to_dict(), indent=1, sort_keys=True) + "\n"
