"""The folder of a training: weights as safetensors, and a sealed JSON beside them that says which weights count.

Weights stand beside the envelope, so that any tool that reads safetensors opens them. The sealed ``state.json`` commits
them: the file names the weights with their SHA-256 and takes the place of the last one in one step. A process that is
killed between the two writes leaves the state before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from firstlight.errors import RunError
from firstlight.files import (
    SealError,
    WriteError,
    from_json,
    locked,
    own_folder,
    read_sealed,
    sweep_leftovers,
    to_json,
    versions,
    write_sealed,
    write_whole,
)
from firstlight.training.seeds.images import Images
from firstlight.training.seeds.plan import TrainingPlan
from firstlight.training.seeds.state import Standing, State

FORMAT = "firstlight-seeds/2"
_PLAN, _STATE, _LOCK, _WEIGHTS = "plan.json", "state.json", ".lock", "weights-*.safetensors"
_ALL = ("weights", "mean", "square", "best")


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of a run, open and locked, or none.

    Attributes
    ----------
    path
        Where it is; None keeps nothing.
    identity
        What its files belong to: the plan without its number of epochs, the images, versions, groups and threads.
    groups
        Groups of seeds that train at the same time.
    """

    path: Path | None
    identity: Mapping[str, Any]
    groups: int = 1

    @classmethod
    @contextmanager
    def opened(
        cls,
        path: str | Path | None,
        plan: TrainingPlan,
        images: Images,
        *,
        resume: bool,
        groups: int | None,
        suggested: int,
    ) -> Iterator[TrainingFolder]:
        """The folder of a plan, locked while it is open; its groups are those it was begun with, unless given.

        Raises
        ------
        RunError
            Another process works in it; it holds something else, another plan, or this one and ``resume`` is not set;
            safetensors is not installed.
        WriteError
            It cannot be made or written.
        TrustError
            Others may write in it.
        """
        if path is None:
            yield cls(None, {}, suggested if groups is None else groups)
            return
        _check_safetensors()
        place = own_folder(path)
        known = plan.to_dict()
        del known["epochs"]
        known["images"] = _digest(images)
        with locked(place / _LOCK, f"training in the folder {place}"):
            sweep_leftovers(place)
            count = groups if groups is not None else _begun_with(place / _PLAN) or suggested
            threads = torch.get_num_threads() if count == 1 else 1
            identity = {"format": FORMAT, **versions(), "groups": count, "threads": threads, **known}
            folder = cls(place, identity, count)
            folder._settle(resume)
            yield folder

    def load(self, start: State) -> State:
        """The state of the folder, or the start where there is none yet.

        Raises
        ------
        RunError
            It is damaged, or of another run.
        """
        if self.path is None or not (self.path / _STATE).exists():
            return start
        try:
            return self._read(self.path, start)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"while resuming the training in {self.path}: expected the weights and the state that this run wrote, "
                f"got: {error}; train anew in another folder"
            ) from error

    def _read(self, place: Path, start: State) -> State:
        from safetensors.torch import load

        body = from_json(read_sealed(place / _STATE, "training-state", self._short()))
        raw = (place / Path(body["weights"]).name).read_bytes()
        if hashlib.sha256(raw).hexdigest() != body["sha256"]:
            raise ValueError("weights that are not those that the state names")
        tensors = load(raw)
        shapes = {tuple(tensors[name].shape) for name in _ALL}
        if shapes != {tuple(start.weights.shape)}:
            raise ValueError(f"weights of the shapes {shapes}")
        seeds = [Standing.from_dict(one) for one in body["seeds"]]
        return State(**{name: tensors[name] for name in _ALL}, seeds=seeds, epoch=int(body["epoch"]))

    def save(self, state: State) -> None:
        """Write the state, whole or not at all; the one before stays until then.

        Raises
        ------
        RunError
            The disk is full or refuses.
        """
        if self.path is None:
            return
        from safetensors.torch import save

        raw = save(state.tensors, {"format": FORMAT, "epoch": str(state.epoch)})
        name = _WEIGHTS.replace("*", f"{state.epoch:06d}")
        body = {
            "weights": name,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "epoch": state.epoch,
            "seeds": [one.to_dict() for one in state.seeds],
        }
        try:
            write_whole(self.path / name, raw)
            text = to_json(body, indent=1).encode()
            write_sealed(self.path / _STATE, "training-state", self._short(), text)
        except WriteError as error:
            raise RunError(_unwritten(error)) from error
        for other in self.path.glob(_WEIGHTS):
            if other.name != name:
                other.unlink(missing_ok=True)

    def finish(self, result: Mapping[str, object]) -> None:
        """Write the result beside the state; raises as ``save``."""
        if self.path is None:
            return
        try:
            write_whole(self.path / "result.json", to_json(result, indent=1) + "\n")
        except WriteError as error:
            raise RunError(_unwritten(error)) from error

    def _settle(self, resume: bool) -> None:
        """Write the plan into a new folder, or compare with the plan that is there."""
        assert self.path is not None, "a folder without a place is never opened"
        written = self.path / _PLAN
        if not written.exists():
            others = sorted(p.name for p in self.path.iterdir() if p.name != _LOCK)
            if others:
                raise RunError(
                    f"while starting a training in {self.path}: expected an empty folder or a training, got files such "
                    f"as {others[0]!r}; choose another folder"
                )
            try:
                write_sealed(written, "training-plan", self.identity, str(self.groups).encode())
            except WriteError as error:
                raise RunError(_unwritten(error)) from error
            return
        try:
            read_sealed(written, "training-plan", self.identity)
        except SealError as error:
            what = "the plan, images, versions, groups and threads that it was started with"
            got = "others" if error.fault == "identity" else "a damaged plan, or that of another format"
            raise RunError(
                f"while opening the training in {self.path}: expected {what}, got {got}: {error}; choose another "
                "folder, or undo the change"
            ) from error
        if not resume:
            raise RunError(
                f"while starting a training in {self.path}: expected an empty folder, got an earlier attempt at this "
                "very plan; pass --resume (resume=True) to go on with it"
            )

    def _short(self) -> dict[str, str]:
        return {"plan": hashlib.sha256(to_json(self.identity).encode()).hexdigest()}


def _begun_with(plan: Path) -> int | None:
    """The groups of a run that is there; None where there is none, or where it cannot be read, as is said later."""
    try:
        return int(read_sealed(plan, "training-plan"))
    except (SealError, ValueError):
        return None


def _digest(images: Images) -> str:
    """A fingerprint of the images by their bytes."""
    found = hashlib.sha256()
    for part in (images.known, images.test):
        for tensor in (part.images, part.classes):
            found.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
            found.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_safetensors() -> None:
    import importlib.util

    if importlib.util.find_spec("safetensors") is None:
        raise RunError(
            "while opening a training's folder: expected safetensors, which holds the weights, got no such package; "
            "`pip install safetensors`, or train without a folder"
        )


def _unwritten(error: WriteError) -> str:
    hint = "free some space and resume" if error.full else "check the folder and resume"
    return (
        f"while writing {error.path.name} into '{error.path.parent}': expected that it fits, got: {error.reason}; "
        f"{hint}, the epochs before are kept"
    )
