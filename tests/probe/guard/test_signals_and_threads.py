"""Ctrl-C at any moment leaves no trace, and audits in several threads give the numbers of audits in turn."""

import dis
import gc
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import checkpoint

import firstlight
from firstlight.clean_room import is_clean
from firstlight.probe.guard._shield import shield

sys.path.insert(0, str(Path(__file__).parent))

from snapshots import differences, process, snapshot


def network(seed=0, blocks=12):
    torch.manual_seed(seed)
    layers = [
        layer
        for _ in range(blocks)
        for layer in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1))
    ]
    return nn.Sequential(*layers)


def interrupt(number, frame):
    raise KeyboardInterrupt


@pytest.fixture
def alarmed():
    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the system has no alarm signal")


def tried(model, x, delay):
    """One audit with an interrupt after a delay; what it left."""
    model.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = snapshot(model, x, versions=True)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGALRM)]
    outcome = "finished"
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        firstlight.audit(model, x)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        outcome = "interrupted"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGALRM)] == handlers
    return outcome, differences(before, snapshot(model, x, versions=True))


# Python itself drops what is raised inside the callback of a weak reference; such an audit goes on and ends
@needs_alarm
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Weak:pytest.PytestUnraisableExceptionWarning"
)
def test_an_interrupt_at_any_of_a_hundred_moments_leaves_no_trace(alarmed):
    model, x = network(), torch.randn(16, 16)
    firstlight.audit(model, x)
    start = time.perf_counter()
    firstlight.audit(model, x)
    length = time.perf_counter() - start
    moments = random.Random(0)
    outcomes = []
    for count in range(120):
        # every third one where the audit begins or ends
        low, high = ((0.0, 1.05), (0.0, 0.1), (0.85, 1.05))[count % 3]
        outcome, left = tried(model, x, max(length * moments.uniform(low, high), 1e-5))
        outcomes.append(outcome)
        assert not left, (count, left)
    assert outcomes.count("interrupted") >= 40


@needs_alarm
@pytest.mark.parametrize("where", ["entering", "leaving"])
def test_a_signal_waits_while_the_guard_enters_and_leaves(alarmed, where, monkeypatch):
    from firstlight.probe.guard import guard

    name = "__init__" if where == "entering" else "restore"
    step = getattr(guard.Guard, name)

    def interrupted(self, *args, **options):
        os.kill(os.getpid(), signal.SIGALRM)
        return step(self, *args, **options)

    monkeypatch.setattr(guard.Guard, name, interrupted)
    model, x = network(blocks=2), torch.randn(16, 16)
    before = snapshot(model, x, versions=True)
    with pytest.raises(KeyboardInterrupt):
        firstlight.audit(model, x)
    assert not differences(before, snapshot(model, x, versions=True))
    assert signal.getsignal(signal.SIGALRM) is interrupt


@needs_alarm
def test_signals_are_delivered_once_and_in_order(alarmed):
    got = []
    signal.signal(signal.SIGALRM, lambda number, frame: got.append(number))
    with shield() as held:
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0.001)
        assert got == []
        held.run(lambda: None)
        assert got == [signal.SIGALRM]
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0.001)
    assert got == [signal.SIGALRM] * 2


def audited(models, x, rounds=2):
    """Profiles of every model, each from a thread of its own, all threads at once."""
    found = {}

    def work(place):
        found[place] = [firstlight.audit(models[place], x).profile for _ in range(rounds)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("shared", [False, True], ids=["two models", "one model"])
def test_audits_in_threads_give_the_numbers_of_audits_in_turn(shared):
    first, second = network(1, 3), network(2, 3)
    models, x = [first, first if shared else second], torch.randn(32, 16)
    wanted = [firstlight.audit(model, x).profile for model in models]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    before, held = process(), [snapshot(model) for model in models]
    try:
        found = audited(models, x)
    finally:
        sys.setswitchinterval(interval)
    assert [profile == wanted[place] for place in (0, 1) for profile in found[place]] == [True] * 4
    assert not differences(before, process())
    assert not [d for was, model in zip(held, models) for d in differences(was, snapshot(model))]


def test_an_audit_inside_an_audited_forward_is_taken_back_too():
    inner, x = network(1, 1), torch.randn(16, 16)
    outer = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    outer[0].register_forward_hook(lambda *given: (firstlight.audit(inner, x), None)[1])
    wanted = firstlight.audit(inner, x).profile
    before = snapshot(outer, x)
    profile = firstlight.audit(outer, x).profile
    assert [str(kind) for kind in profile["kind"]] == ["input", "weight", "activation"]
    assert not differences(before, snapshot(outer, x))
    assert firstlight.audit(inner, x).profile == wanted


class Interrupted:
    """Raises an interrupt where the begun generator of a context is handed to the `with` statement that waits."""

    def __init__(self, name):
        self.name, self.enter = name, type(contextmanager(lambda: iter(()))()).__enter__.__code__

    def __call__(self, frame, event, arg):
        if frame.f_code is self.enter and frame.f_locals["self"].gen.__name__ == self.name:
            frame.f_trace_opcodes = True
            return self.after_the_yield
        return None

    def after_the_yield(self, frame, event, arg):
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] == dis.opmap["RETURN_VALUE"]:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self.after_the_yield


# of firstlight, and of torch: the last one stands around every call of a mode from Python
@pytest.mark.parametrize("name", ["outside", "kept", "room", "unrolled", "watching", "_pop_mode_temporarily"])
def test_a_context_that_an_interrupt_left_open_ends_with_the_audit_and_not_later(name):
    def state():
        modes = [torch._C._get_function_stack_at(i) for i in range(torch._C._len_torch_function_stack())]
        return modes, torch._C._len_torch_dispatch_stack(), checkpoint.CheckpointFunction, is_clean()

    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    with torch.device("cpu"):  # a mode of the caller
        before = state()
        sys.settrace(Interrupted(name))
        try:
            firstlight.audit(model, torch.randn(4, 8))
        except KeyboardInterrupt as interrupt:
            caught = interrupt
        finally:
            sys.settrace(None)
        assert state() == before
        caught.__traceback__ = None
        gc.collect()
        assert state() == before
