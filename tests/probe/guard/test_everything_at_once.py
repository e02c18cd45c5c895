"""One forward that changes everything that the guard knows, settings and objects, and one audit of it."""

import collections
import contextvars
import copy
import decimal
import gc
import io
import itertools
import logging
import mmap
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight.errors import AuditError

VARIABLE = contextvars.ContextVar("variable", default=0)


class Does(nn.Module):
    """A linear layer whose forward does something else first."""

    def __init__(self, act, **held):
        super().__init__()
        self.layer, self.act = nn.Linear(8, 4), act
        vars(self).update(held)

    def forward(self, x):
        self.act(self)
        return self.layer(x)


def audited(act, **held):
    torch.manual_seed(0)
    net = Does(act, **held)
    firstlight.audit(net, torch.randn(16, 8))
    return net


def test_every_setting_of_the_process_is_as_it_was(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    saved = torch._C._autograd
    sets = {
        "variable": (VARIABLE.get, lambda: VARIABLE.set(5)),
        "decimals": (lambda: decimal.getcontext().prec, lambda: setattr(decimal.getcontext(), "prec", 5)),
        "a handler": (
            lambda: signal.getsignal(signal.SIGUSR1),
            lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        ),
        "a timer": (
            lambda: any(signal.getitimer(signal.ITIMER_VIRTUAL)),
            lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 1000),
        ),
        "garbage": (gc.isenabled, gc.disable),
        "thresholds": (gc.get_threshold, lambda: gc.set_threshold(5, 5, 5)),
        "stdin": (lambda: sys.stdin, lambda: setattr(sys, "stdin", io.StringIO())),
        "level": (lambda: logging.root.level, lambda: logging.root.setLevel(1)),
        "disabled": (lambda: logging.root.manager.disable, lambda: logging.disable(50)),
        "torch prints": (
            lambda: torch._tensor_str.PRINT_OPTS.precision,
            lambda: torch.set_printoptions(precision=2),
        ),
        "numpy prints": (
            lambda: np.get_printoptions()["precision"],
            lambda: np.set_printoptions(precision=2),
        ),
        "flash": (
            torch.backends.cuda.flash_sdp_enabled,
            lambda: torch.backends.cuda.enable_flash_sdp(not torch.backends.cuda.flash_sdp_enabled()),
        ),
        "tf32": (
            lambda: torch.backends.cudnn.allow_tf32,
            lambda: setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
        ),
        "backward threads": (
            torch._C._is_multithreading_enabled,
            lambda: torch._C._set_multithreading_enabled(False),
        ),
        "device": (lambda: str(torch.get_default_device()), lambda: torch.set_default_device("meta")),
        "saving": (
            lambda: saved._top_saved_tensors_default_hooks(True),
            lambda: saved._push_saved_tensors_default_hooks(lambda t: t, lambda t: t),
        ),
        "switching": (sys.getswitchinterval, lambda: sys.setswitchinterval(0.1)),
        "zone": (
            lambda: time.tzname,
            lambda: (monkeypatch.setenv("TZ", "Asia/Tokyo"), time.tzset()),
        ),
    }
    before = {name: get() for name, (get, _) in sets.items()}
    audited(lambda net: [change() for _, change in sets.values()])
    after = {name: get() for name, (get, _) in sets.items()}
    assert {name: after[name] for name in sets if after[name] != before[name]} == {}


class Sub(torch.Tensor):
    pass


def test_streams_memory_iterators_and_classes_of_tensors_are_as_they_were():
    local = threading.local()
    local.value = 0
    tensor = torch.zeros(3)

    def act(net):
        net.text.write("x")
        net.bytes.write(b"x")
        net.map[0] = 65
        net.view[0] = 65
        next(net.list)
        next(net.range)
        net.local.value = 5
        net.chain["a"] = 1
        net.tensor.__class__ = Sub
        net.layer.__dict__ = dict(net.layer.__dict__)

    own = {}
    net = audited(
        lambda net: (own.setdefault("own", net.layer.__dict__), act(net)),
        text=io.StringIO("ab"),
        bytes=io.BytesIO(),
        map=mmap.mmap(-1, 8),
        view=memoryview(bytearray(4)),
        list=iter([1, 2, 3]),
        range=iter(range(5)),
        local=local,
        chain=collections.ChainMap({}, {}),
        tensor=tensor,
    )
    assert net.text.getvalue() == "ab"
    assert net.bytes.getvalue() == b""
    assert bytes(net.map) == bytes(8)
    assert bytes(net.view) == bytes(4)
    assert (next(net.list), next(net.range), net.local.value, dict(net.chain)) == (1, 0, 0, {})
    assert type(net.tensor) is torch.Tensor
    assert own == {} or net.layer.__dict__ is own["own"]


def counted():
    place = 0
    while True:
        place += 1
        yield place


@pytest.mark.parametrize("held", [itertools.count(5), counted()], ids=["count", "generator"])
def test_what_has_no_way_back_is_told_and_stays_silent_where_it_did_not_go_on(held):
    audited(lambda net: None, held=held)
    with pytest.raises(AuditError, match=r"changes that stay in the model\.held"):
        audited(lambda net: next(net.held), held=held)


def test_iterators_that_can_be_copied_are_left_where_they_stand():
    shared = iter([1, 2, 3])
    next(shared)
    net = audited(lambda net: [next(net.held), next(net.held)], held=shared)
    assert list(copy.copy(net.held)) == [2, 3]
