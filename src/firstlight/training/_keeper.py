"""Keeps a training run: one checkpoint, locked while the run lasts, resumed by its own run only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from firstlight.data import Dataset
from firstlight.errors import LoadError
from firstlight.files import SealError, expanded, locked, sweep_leftovers
from firstlight.training._epoch import Epoch
from firstlight.training._identity import fingerprint
from firstlight.training.checkpoint import load_checkpoint, make_parent, save_checkpoint


@dataclass(frozen=True)
class Keeper:
    """The checkpoint of a run, or none.

    Attributes
    ----------
    path
        The file; None keeps nothing.
    identity
        What a checkpoint has to belong to.
    """

    path: Path | None
    identity: Mapping[str, Any]

    @classmethod
    @contextmanager
    def opened(
        cls,
        path: str | Path | None,
        model: nn.Module,
        data: Dataset,
        test: Dataset,
        protocol: Mapping[str, object],
    ) -> Iterator[Keeper]:
        """The keeper of a run, holding the lock of its checkpoint.

        Raises
        ------
        RunError
            Another process trains with this checkpoint.
        WriteError
            The folder cannot be made.
        """
        if path is None:
            yield cls(None, {})
            return
        target = expanded(path)
        make_parent(target)
        parts = {
            "model": model,
            "data": (data.inputs, data.targets),
            "test data": (test.inputs, test.targets),
        }
        identity = {**protocol, **{name: fingerprint(part) for name, part in parts.items()}}
        with locked(target.with_name(f".{target.name}.lock"), f"training with the checkpoint {target}"):
            sweep_leftovers(target.parent, target.name)
            yield cls(target, identity)

    def resume(self, model: nn.Module) -> tuple[list[Epoch], bool]:
        """Put the weights of the checkpoint into the model; the epochs so far, and whether they diverged.

        Raises
        ------
        LoadError
            The checkpoint is damaged, or of another run.
        """  # noqa: DOC501
        if self.path is None or not (self.path.exists() or self.path.is_symlink()):
            return [], False
        doing = f"while resuming from {self.path}"
        try:
            state = load_checkpoint(self.path, identity=self.identity)
        except SealError as error:
            if error.fault != "identity":
                raise
            raise LoadError(self._other(doing, error.identity)) from error
        try:
            names = {f.name for f in fields(Epoch)}
            history = [Epoch(**{k: v for k, v in row.items() if k in names}) for row in state["history"]]
            model.load_state_dict(state["model"])
        except (KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise LoadError(
                f"{doing}: expected the weights of this model, got others ({str(error).splitlines()[0]}); build the "
                "same model or use another file"
            ) from error
        return history, bool(state["diverged"])

    def save(self, model: nn.Module, history: list[Epoch], diverged: bool) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.path is None:
            return
        state = {
            "model": model.state_dict(),
            "history": [asdict(one) for one in history],
            "diverged": diverged,
        }
        save_checkpoint(self.path, state, identity=self.identity)

    def _other(self, doing: str, found: object) -> str:
        """What differs, with its values; of a digest only that the thing differs."""
        theirs = found if isinstance(found, Mapping) else {}
        if theirs.get("model") != self.identity["model"]:
            return (
                f"{doing}: expected the weights of this model, got those of another architecture, activation or gain; "
                "build the same model or use another file"
            )
        for name in ("data", "test data"):
            if theirs.get(name) != self.identity[name]:
                return (
                    f"{doing}: expected a run on the same {name}, got one on other samples; use another file"
                )
        names = [name for name in theirs if name in self.identity and theirs[name] != self.identity[name]]
        if names:
            wanted, got = ({name: part[name] for name in names} for part in (self.identity, theirs))
            return f"{doing}: expected {wanted}, got {got}; use another file or the same protocol"
        kept = {name: theirs.get(name) for name in ("format", "firstlight", "torch", "numpy")}
        return (
            f"{doing}: expected a checkpoint of the versions that run now, whose numbers it would go on with, got one "
            f"of {kept}; use another file or those versions"
        )
