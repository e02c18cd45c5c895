"""A run's folder: its plan, its finished shards, and the refusal to mix two plans."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.ensemble.plan import Plan
from firstlight.ensemble.sums._state import LayerState, pack, unpack
from firstlight.errors import FirstlightError, RunError
from firstlight.files import (
    SealError,
    TrustError,
    WriteError,
    from_json,
    locked,
    own_folder,
    pack_arrays,
    read_sealed,
    sweep_leftovers,
    to_json,
    unpack_arrays,
    versions,
    write_sealed,
    write_whole,
)
from firstlight.files.plain_data import Record

FORMAT = "firstlight-run/3"
_PLAN, _LOCK = "plan.json", ".lock"


@dataclass(frozen=True)
class Folder:
    """The folder of one run: ``plan.json``, one file per finished shard in ``shards/``, ``profile.json``.

    Plan and shards are sealed files. A shard's identity is its number and the digest of the plan.

    Attributes
    ----------
    path
        Where it is.
    plan
        The plan with its format, the fingerprint of the inputs, and the versions that fix the numbers.
    """

    path: Path
    plan: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, plan: Plan, inputs: str, *, resume: bool, alone: bool = False) -> Folder:
        """Make the folder, or open the one of an earlier attempt at the same plan.

        Parameters
        ----------
        path, plan, inputs
            Where, what, and the digest of the inputs.
        resume
            Whether an earlier attempt is welcome.
        alone
            Whether the caller holds the lock already.

        Raises
        ------
        RunError
            The folder holds another plan (the difference is shown), or this one and ``resume`` is not set, or
            something that is not a run; another process works in it, others may write in it, or it cannot be made.
        """
        folder = cls(path, {"format": FORMAT, "inputs": inputs, **versions(), **plan.to_dict()})
        run_folder(path)
        try:
            with nullcontext() if alone else folder.locked():
                folder._settle(resume)
        finally:
            if not (path / _PLAN).exists():  # it is not ours: we leave it as it was
                (path / _LOCK).unlink(missing_ok=True)
        return folder

    def _settle(self, resume: bool) -> None:
        """Write the plan into a new folder, or compare with the plan that is there."""
        for place in (self.path, self.shards):
            sweep_leftovers(place)
        written = self.path / _PLAN
        if not written.exists():
            others = sorted(p.name for p in self.path.iterdir() if p.name not in ("shards", _LOCK))
            if others or any(self.shards.glob("*.shard")):
                raise RunError(
                    f"while starting a run in '{self.path}': expected an empty folder or a run, got files such as "
                    f"{(others or ['shards without a plan'])[0]!r}; choose another folder"
                )
            run_folder(self.shards)
            self._seal(written, "plan", self.plan, b"")
            return
        self._compare(written)
        if not resume:
            raise RunError(
                f"while starting a run in '{self.path}': expected an empty folder, got an earlier attempt at this "
                "very plan; pass --resume (resume=True) to finish it"
            )
        run_folder(self.shards)

    def _compare(self, written: Path) -> None:
        try:
            read_sealed(written, "plan", self.plan)
        except SealError as error:
            if error.fault == "identity":
                raise RunError(
                    f"while opening the run '{self.path}': expected the plan that the run was started with, got "
                    f"another one; choose another folder or undo the change:\n{_changes(error.identity, self.plan)}"
                ) from error
            raise RunError(
                f"while opening the run '{self.path}': expected a plan of the format {FORMAT}, got a damaged one or "
                f"that of an older version of firstlight ({error}); choose another folder and compute the run anew"
            ) from error
        except TrustError as error:
            raise RunError(str(error)) from error

    @property
    def shards(self) -> Path:
        """Where the shards are."""
        return self.path / "shards"

    @property
    def digest(self) -> str:
        """Fingerprint of the plan, in the identity of every shard."""
        return hashlib.sha256(_text(self.plan).encode()).hexdigest()

    def write(self, index: int, state: Mapping[int, LayerState]) -> None:
        """Store a finished shard, whole or not at all.

        Raises
        ------
        RunError
            The disk is full or refuses; what is finished is kept.
        """
        self._seal(self._file(index), "shard", self._identity(index), pack_arrays(pack(state)))

    def finish(self, name: str, text: str) -> None:
        """Write a result beside the shards; raises as ``write``."""
        write_result(self.path / name, text)

    def read(self, index: int) -> dict[int, LayerState]:
        """A stored shard.

        Raises
        ------
        RunError
            It is damaged or of another plan.
        """
        try:
            state = unpack(unpack_arrays(read_sealed(self._file(index), "shard", self._identity(index))))
            if sorted(state) != sorted(self.plan["layers"]):
                raise RunError(f"layers {sorted(state)}")
            return state
        except (FirstlightError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise RunError(
                f"while reading shard {index} of '{self.path}': expected one of this plan, got another or a damaged "
                f"one ({error}); resume to compute it again"
            ) from error

    def missing(self, count: int) -> tuple[list[int], list[int]]:
        """Numbers of the shards that are to be computed, and those of them that were there but damaged."""
        wanted, damaged = [], []
        for index in range(count):
            file = self._file(index)
            if not file.exists() and not file.is_symlink():
                wanted.append(index)
                continue
            try:
                self.read(index)
            except RunError:
                damaged.append(index)
        return sorted(wanted + damaged), damaged

    def _identity(self, index: int) -> Record:
        return {"plan": self.digest, "shard": index}

    def _file(self, index: int) -> Path:
        return self.shards / f"{index:06d}.shard"

    def _seal(self, path: Path, kind: str, identity: Mapping[str, object], body: bytes) -> None:
        try:
            write_sealed(path, kind, identity, body)
        except WriteError as error:
            raise _unwritten(error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine out; the lock dies with its process.

        A cell of a sweep is locked with its sweep.

        Raises
        ------
        RunError
            Another process is at work here.
        """
        sweep = self.path.parent.parent / _LOCK
        inside = self.path.parent.name == "cells" and sweep.exists()
        with locked_folder(sweep.parent if inside else self.path):
            yield


def run_folder(path: Path) -> None:
    """Make a folder of a run or a sweep, with the rights 0700, or open it where it is ours alone.

    Raises
    ------
    RunError
        Others may write in it, or it cannot be made.
    """
    try:
        own_folder(path)
    except WriteError as error:
        raise RunError(f"while making the run folder '{path}': {error.reason}") from error
    except TrustError as error:
        raise RunError(str(error)) from error


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """The lock of a run's or a sweep's folder; raises a ``RunError`` where another process is at work."""
    with locked(path / _LOCK, f"opening the run '{path}'", keep=True):
        yield


def write_result(path: Path, text: str | bytes) -> None:
    """Write a table or a profile, whole or not at all.

    Raises
    ------
    RunError
        The disk is full or refuses; what is finished is kept.
    """  # noqa: DOC501
    try:
        write_whole(path, text)
    except WriteError as error:
        raise _unwritten(error) from error


def _unwritten(error: WriteError) -> RunError:
    hint = "free some space and resume" if error.full else "check the folder and resume"
    return RunError(
        f"while writing {error.path.name} into '{error.path.parent}': expected that it fits, got: {error.reason}; "
        f"{hint}, what is finished is kept"
    )


def _text(plan: object) -> str:
    return to_json(_sorted(from_json(to_json(plan))), indent=1)


def _sorted(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(inside) for inside in value] if isinstance(value, list) else value


def _changes(before: object, now: object) -> str:
    """The lines of two plans that differ."""
    lines = difflib.unified_diff(
        _text(before).splitlines(), _text(now).splitlines(), "the folder's plan", "this plan", "", "", 0, ""
    )
    return "\n".join(line for line in lines if not line.startswith("@@"))
