"""Guard: one pass through somebody's model as a transaction that is always taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _pop_mode, _push_mode

from firstlight.clean_room import end_contexts
from firstlight.errors import AuditError, in_one_line, user_code
from firstlight.probe.guard._objects import Walk
from firstlight.probe.guard._shield import Shield, shield
from firstlight.probe.guard._storages import Storages
from firstlight.probe.guard._tensors import Known
from firstlight.probe.guard._writes import Doors, Writes
from firstlight.probe.guard.nodes import Node, nodes, written_in_python
from firstlight.probe.guard.process import Setting, random_state, same, settings


class Guard:
    """Remembers what a pass through a model may change, and puts it back.

    Found by walking from the model, the loss and whatever else is named: tensors with their bytes, gradients,
    hooks and places in graphs; attributes of modules and of the objects, containers, generators and closures they
    hold; and the settings of the process. Bytes are copied when an operation is about to write them.
    """

    def __init__(
        self, model: nn.Module, others: dict[str, object], held: Shield, *, parameters: bool
    ) -> None:
        self.shield = held
        walk = Walk()
        named = dict(model.named_parameters())
        for name, tensor in (*named.items(), *model.named_buffers()):
            walk.go(name, tensor)
        for name, root in {"the model": model, **others, **_global_hooks()}.items():
            walk.go(name, root)
        self.walk = walk
        self.modes = [(module, module.training) for module in model.modules()]
        left = set() if parameters else {id(p) for p in named.values()}
        self.tensors = [Known.of(t, name) for name, t in walk.tensors.values() if id(t) not in left]
        self.storages = Storages()
        for known in self.tensors:
            self.storages.add(known.tensor, known.name)
        self.storages.start()
        self.settings = [(setting, state) for setting in settings() for state in _state(setting)]
        self.writes, self.doors = Writes(self.storages), Doors(self.storages)

    @contextmanager
    def watching(self, graph: Node | None = None) -> Iterator[None]:
        """See every write, while the caller's code runs.

        The mode is not needed where everything is copied already. A backward pass through nodes of torch alone does
        not need it either: such nodes write only into tensors that they made themselves.

        Parameters
        ----------
        graph
            The last node of the graph whose backward pass is to run.
        """
        if not self.storages.pending or (graph is not None and not self._runs_python(graph)):
            yield
            return
        # past the modes' own enter and exit, which set flags of the compiler that nobody needs here
        self.writes.wary = graph is not None
        torch._C._push_on_torch_function_stack(self.doors)
        _push_mode(self.writes)
        try:
            yield
        finally:
            _pop_mode()
            torch._C._pop_torch_function_stack()

    def _runs_python(self, graph: Node | None) -> bool:
        """Whether a backward pass through a graph can call the caller's code."""
        return (
            self.doors.hooked
            or any(k.hooked for k in self.tensors)
            or any(map(written_in_python, nodes(graph)))
        )

    def restore(self) -> list[str]:
        """Put everything back, whatever fails on the way; what could not be put back, with reasons."""
        failed: list[str] = []
        moved = False

        def attempt(name: str, step: Callable[[], object]) -> None:
            try:
                step()
            except Exception as error:
                failed.append(f"{name} ({in_one_line(error)[:200]})")

        # what is as it was found, as most is, costs one look
        for setting, state in self.settings:
            if not _holds(partial(_is, setting, state)):
                moved = True
                attempt(setting.name, partial(_put, setting, state))
        for held in self.walk.held:
            if not _holds(held.unchanged):
                moved = True
                attempt(held.name, held.put_back)
        for name, container in self.walk.empty:
            if container:
                attempt(name, container.clear)
        for module, mode in self.modes:
            if module.training != mode:
                attempt("the mode of a module", partial(_mode, module, mode))
        for known in self.tensors:
            for name, step in () if _holds(known.as_found) else known.steps():
                attempt(name, step)
        for kept in self.storages.kept.values():
            if not _holds(kept.unchanged):
                attempt(f"the values of {kept.name}", kept.put_back)
        if not failed:
            for known in self.tensors:
                if known.version is not None and known.tensor._version != known.version:
                    attempt(f"the version of {known.name}", known.version_step)
        # what was written into tensors, modes and containers that were empty moves no other object
        return failed or (self._traces() if moved else [])

    def _traces(self) -> list[str]:
        """What is still different after everything was put back."""
        found = [held.name for held in self.walk.held if not held.unchanged()]
        found += [s.name for s, state in self.settings if not same(s.get(), state)]
        return found


def _state(setting: Setting) -> Iterator[Any]:
    try:
        yield setting.get()
    except (RuntimeError, AttributeError, OSError):
        return  # this build or machine has no such thing


def _holds(look: Callable[[], bool]) -> bool:
    """Whether a look says yes; what cannot be looked at is to be put back, and says there why."""
    try:
        return look()
    except Exception:
        return False


def _is(setting: Setting, state: object) -> bool:
    return same(setting.get(), state)


def _put(setting: Setting, state: object) -> None:
    if not same(setting.get(), state):
        setting.set(state)


def _set_mode(model: nn.Module, training: bool) -> None:
    name = type(model).__name__
    with user_code(f"setting the mode of {name}", "call model.train() and model.eval() alone to see where"):
        model.train(training)


def _mode(module: nn.Module, training: bool) -> None:
    if module.training != training:
        module.training = training


def _global_hooks() -> dict[str, Any]:
    hooks = vars(nn.modules.module)
    return {f"torch's {name.strip('_')}": hooks[name] for name in hooks if name.startswith("_global_")}


@contextmanager
def untouched(
    model: nn.Module,
    *,
    training: bool | None,
    seed: int,
    others: dict[str, object] | None = None,
    parameters: bool = True,
) -> Iterator[Guard]:
    """Run with the model in the asked mode and seeded generators; put everything back, also on error.

    One such section runs at a time in a process, whatever the thread: generators and flags are the process's.
    Signals wait while the section begins and ends.

    Parameters
    ----------
    model
        The model that will be run.
    training
        The mode to run in; None keeps the mode of each module.
    seed
        Seeds the generators of Python, numpy and torch.
    others
        What else a pass may write, by a name to show: the batch, the targets, a loss with a state.
    parameters
        Whether parameters are put back; if not, what the work writes into them stays.

    Raises
    ------
    AuditError
        If something could not be put back; the message names it.
    """
    with shield() as held, random_state(seed):
        guard = Guard(model, others or {}, held, parameters=parameters)
        failure: BaseException | None = None
        try:
            if training is not None:
                held.run(partial(_set_mode, model, training))
            yield guard
        except BaseException as error:
            held.up = True
            failure = error
            end_contexts(error)
            raise
        finally:
            held.up = True
            left = guard.restore()
            if left:
                shown = "; ".join(left[:6]) + (f"; and {len(left) - 6} more" if len(left) > 6 else "")
                raise AuditError(
                    f"while putting {type(model).__name__} back after a pass: expected everything as it was found, "
                    f"got changes that stay in {shown}; build the model anew, or load its state, before its next use"
                ) from failure
