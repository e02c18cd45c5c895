"""Sweeps: a grid over the fields of a random network, from a TOML file to one tidy table."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.ensemble.beside import with_theory
from firstlight.ensemble.plan import Plan, check_memory, columns, digest
from firstlight.ensemble.result import Ensemble
from firstlight.ensemble.runs._folder import Folder, locked_folder, run_folder, write_result
from firstlight.ensemble.runs._seeds import shard_seed
from firstlight.ensemble.runs.engines import Engine, Local, Task
from firstlight.ensemble.runs.progress import progress_bar
from firstlight.ensemble.sums._state import merge_states
from firstlight.errors import DomainError, FirstlightError, LoadError
from firstlight.files import expanded, memory, plain, restored, sweep_leftovers, to_json
from firstlight.files.plain_data import Plain, Record
from firstlight.network import RandomNetwork

_CELLS = 100_000
_TABLES = ("network", "grid", "run", "inputs")
_RUN = tuple(f.name for f in fields(Plan) if f.name != "net")
_INPUTS = ("features", "shape", "count", "correlation", "q", "data", "normalise")


def _fail(name: str, message: str) -> LoadError:
    return LoadError(f"while reading the sweep {name}: {message}")


@dataclass(frozen=True)
class Sweep:
    """A grid of networks: the product of all lists in ``grid`` over the fixed fields in ``network``.

    A list in the file is given as it is, or as ``{start, stop, count}`` with an optional ``log = true``.
    ``run`` holds fields of ``Plan``; ``inputs`` either ``features``, ``count``, ``correlation`` and ``q`` (so
    many inputs of squared norm q·features with exactly this cosine) or ``data`` (a name for
    ``firstlight.data.load``) and ``count``. Networks with a ``kernel_size`` take images: of the data, or made ones of
    ``shape`` [channels, length] or [channels, height, width] instead of ``features``.

    Examples
    --------
    >>> from firstlight.ensemble.runs.sweep import Sweep
    >>> sweep = Sweep.parse('''
    ... [network]
    ... depth = 20
    ... width = 100
    ... [grid]
    ... sigma_w = {start = 1.0, stop = 2.0, count = 3}
    ... sigma_b = [0.0, 0.1]
    ... [run]
    ... nets = 100
    ... ''')
    >>> len(sweep.cells()), sweep.cells()[2]
    (6, {'sigma_w': 1.5, 'sigma_b': 0.0})
    """

    network: Mapping[str, Any]
    grid: Mapping[str, tuple[Plain, ...]]
    run: Mapping[str, Any]
    inputs: Mapping[str, Any]
    name: str = "sweep"
    data_directory: str | None = None

    @classmethod
    def load(cls, path: Path, *, data_directory: str | None = None) -> Sweep:
        """Read a TOML file.

        Raises
        ------
        LoadError
            The file cannot be read or says something inconsistent.
        """  # noqa: DOC501
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _fail(str(path), f"expected a TOML file, got {error}") from error
        return cls.parse(text, name=str(path), data_directory=data_directory)

    @classmethod
    def parse(cls, text: str, *, name: str = "sweep", data_directory: str | None = None) -> Sweep:
        """Read the text of a TOML file; raises as ``load`` does."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _fail(name, f"expected TOML, got a mistake: {error}") from error
        unknown = sorted(set(data) - set(_TABLES))
        if unknown:
            raise _fail(name, f"expected the tables {', '.join(_TABLES)}, got [{unknown[0]}]")
        for table in _TABLES:
            if not isinstance(data.get(table, {}), Mapping):
                raise _fail(name, f"expected {table} to be a table [{table}], got {data[table]!r:.60}")
        network, grid = data.get("network", {}), data.get("grid", {})
        if not grid:
            raise _fail(name, "expected a table [grid] with at least one list, got none")
        twice = sorted(set(network) & set(grid))
        if twice:
            raise _fail(name, f"expected {twice[0]} in [network] or in [grid], got it in both")
        for table, known in (("run", _RUN), ("inputs", _INPUTS)):
            wrong = sorted(set(data.get(table, {})) - set(known))
            if wrong:
                raise _fail(name, f"expected [{table}] to hold {', '.join(known)}, got {wrong[0]!r}")
        sweep = cls(
            network,
            {key: _values(name, key, value) for key, value in grid.items()},
            data.get("run", {}),
            data.get("inputs", {}),
            name,
            data_directory,
        )
        if math.prod(len(values) for values in sweep.grid.values()) > _CELLS:
            raise _fail(name, f"expected at most {_CELLS} cells, got more; split the sweep")
        sweep.plans()  # every cell has to be a network that exists, before any is computed
        return sweep

    def cells(self) -> list[Record]:
        """The values of the grid's fields in every cell; the last field varies fastest."""
        return [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]

    def plans(self) -> list[Plan]:
        """One plan per cell, each with a seed of its own."""
        options = dict(self.run)
        seed = options.pop("seed", 0)
        plans = []
        for number, cell in enumerate(self.cells()):
            try:
                net = RandomNetwork.from_dict({**self.network, **cell})
                plans.append(Plan(net=net, seed=shard_seed(seed, number), **{"nets": 1000, **options}))
            except (FirstlightError, TypeError) as error:
                raise _fail(
                    self.name,
                    f"expected one network in every cell; the cell {cell} is not a network: {error}",
                ) from error
        return plans

    def tensor(self) -> Tensor:
        """The inputs, along the first axis."""
        spec = dict(self.inputs)
        if "data" in spec:
            from firstlight import data

            made = [key for key in ("features", "shape", "correlation", "q") if key in spec]
            if made:
                raise _fail(self.name, f"expected data or made inputs, got data and {made[0]}")
            if not isinstance(spec["data"], str):
                raise _fail(self.name, f"expected data to name a data set or a file, got {spec['data']!r}")
            loaded = data.load(
                spec["data"],
                directory=self.data_directory,
                count=spec.get("count"),
                normalise=spec.get("normalise"),
            )
            if not isinstance(loaded.inputs, Tensor):
                raise _fail(self.name, f"expected data with one tensor of inputs, got {spec['data']!r:.60}")
            return loaded.inputs
        if "features" in spec and "shape" in spec:
            raise _fail(self.name, "expected features or a shape of the inputs, got both")
        shape = spec.get("shape", [spec.get("features", 100)])
        sizes = shape if isinstance(shape, list) else [shape]
        if not sizes or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in sizes):
            raise _fail(self.name, f"expected whole numbers ≥ 1 for features or shape, got {shape!r:.60}")
        count = spec.get("count", 1)
        if not isinstance(count, int) or math.prod(sizes) * max(count, 1) * 8 > memory() / 2:
            raise _fail(
                self.name, f"expected inputs that fit into memory, got {count!r} of shape {shape!r:.60}"
            )
        made_inputs = correlated_inputs(
            math.prod(sizes),
            count=spec.get("count", 1),
            correlation=spec.get("correlation", 0.0),
            q=spec.get("q", 1.0),
        )
        if "shape" not in spec:
            return made_inputs
        # turned at random: otherwise nearly all pixels would be zero
        count = len(made_inputs)
        noise = torch.randn(
            math.prod(sizes), count, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        return (made_inputs[:, :count] @ torch.linalg.qr(noise).Q.T).view(count, *sizes)


@checked
@clean
def correlated_inputs(features: int, *, count: int = 1, correlation: float = 0.0, q: float = 1.0) -> Tensor:
    """``count`` inputs of squared norm q·features with exactly the cosine ``correlation`` between any two.

    Raises
    ------
    DomainError
        More inputs than features, or a correlation that no such inputs have.

    Examples
    --------
    >>> from firstlight.ensemble.runs.sweep import correlated_inputs
    >>> x = correlated_inputs(4, count=2, correlation=0.5)
    >>> (x @ x.T / 4).round(decimals=6).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    if not (1 <= count <= features and q > 0 and -1 / max(count - 1, 1) <= correlation <= 1):
        raise DomainError(
            f"while making correlated inputs: expected 1 ≤ count ≤ features, q > 0 and a correlation in "
            f"[−1/(count−1), 1], got count={count}, features={features}, q={q}, correlation={correlation}"
        )
    gram = np.full((count, count), float(correlation)) + (1 - correlation) * np.eye(count)
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T * math.sqrt(q * features)
    x = torch.zeros(count, features, dtype=torch.float64)
    x[:, :count] = torch.from_numpy(root)
    return x


def _values(name: str, key: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, Mapping):
        if not _is_range(value):
            raise _fail(
                name,
                f"expected {key} = {{start, stop, count[, log]}} with finite numbers, 1 ≤ count ≤ {_CELLS}, and "
                f"both above 0 for log, got {dict(value)!r:.120}",
            )
        space = np.geomspace if value.get("log") else np.linspace
        return tuple(space(value["start"], value["stop"], int(value["count"])).tolist())
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise _fail(name, f"expected a list with at least one value for {key}, got {value!r}")
    return tuple(tuple(v) if isinstance(v, list) else v for v in value)


def _is_range(value: Mapping[str, Any]) -> bool:
    """Whether a table is a start, a stop and a count of values between."""
    wanted = {"start", "stop", "count"}
    if not wanted <= set(value) <= wanted | {"log"} or not isinstance(value.get("log", False), bool):
        return False
    ends = (value["start"], value["stop"])
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends
    )
    whole = isinstance(value["count"], int) and not isinstance(value["count"], bool)
    return numbers and whole and 1 <= value["count"] <= _CELLS and (not value.get("log") or min(ends) > 0)


@checked
@clean
def run_sweep(
    sweep: Sweep,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    engine: Engine | None = None,
    progress: bool = False,
) -> list[Record]:
    """Compute every cell and write one tidy table: a row per cell and layer.

    The folder gets ``cells/NNNN`` (a run each), ``results.json``, ``results.csv`` and, where pyarrow is
    installed, ``results.parquet``. All shards of all cells are one list of tasks, so no worker waits for a cell.

    Raises
    ------
    RunError
        As ``firstlight.ensemble.run``.
    """
    folder = expanded(out)
    run_folder(folder)
    with locked_folder(folder):
        return _run_locked(sweep, folder, resume, engine or Local(), progress)


def _run_locked(sweep: Sweep, folder: Path, resume: bool, engine: Engine, progress: bool) -> list[Record]:
    plans, inputs = sweep.plans(), sweep.tensor()
    sweep_leftovers(folder)
    tasks: list[Task] = []
    owners: list[Folder] = []
    opened: list[Folder] = []
    done = 0
    kinds = {(plan.dtype, plan.net.kernel_size): plan for plan in plans}
    xs = {kind: columns(inputs, plan.net, plan.dtype) for kind, plan in kinds.items()}
    for number, plan in enumerate(plans):
        x = xs[plan.dtype, plan.net.kernel_size]
        check_memory(plan, x, engine.workers if isinstance(engine, Local) else 1)
        cell = folder / "cells" / f"{number:04d}"
        # a cell that an interrupted sweep had not reached is new, also when resuming
        opened.append(Folder.open(cell, plan, digest(x), resume=resume, alone=True))
        wanted, _ = opened[-1].missing(plan.shards)
        done += sum(plan.shard_size(i) for i in range(plan.shards) if i not in wanted)
        tasks += [Task(plan, x, index) for index in wanted]
        owners += [opened[-1]] * len(wanted)
    with progress_bar(sum(plan.nets for plan in plans), show=progress) as bar:
        bar.advance(done)
        for position, state in engine.map(tasks):
            task = tasks[position]
            owners[position].write(task.index, state)
            bar.advance(task.plan.shard_size(task.index))
    rows: list[dict[str, object]] = []
    for cell_fields, plan, owner in zip(sweep.cells(), plans, opened, strict=True):
        merged = merge_states(owner.read(index) for index in range(plan.shards))
        profile = Ensemble(plan, merged, tuple(xs[plan.dtype, plan.net.kernel_size].shape)).profile
        profile = with_theory(profile, plan.net, xs[plan.dtype, plan.net.kernel_size])
        owner.finish("profile.json", profile.to_json())
        shown = {k: to_json(v) if isinstance(v, tuple) else v for k, v in cell_fields.items()}
        rows += [{**shown, **row} for row in profile]
    write_table(rows, folder)
    return rows


def _typed(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of one type each, as a parquet file has them: numbers and texts together become texts."""
    columns = {name: [row[name] for row in rows] for name in names}
    for name, values in columns.items():
        kinds = {
            isinstance(value, int | float) and not isinstance(value, bool)
            for value in values
            if value is not None
        }
        if kinds != {True} and len({type(value) for value in values if value is not None}) > 1:
            columns[name] = [None if value is None else str(value) for value in values]
    return columns


def write_table(rows: Sequence[Mapping[str, object]], folder: Path) -> None:
    """``results.json`` and ``results.csv``, and ``results.parquet`` where pyarrow is installed."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = [{name: row.get(name) for name in names} for row in rows]
    write_result(folder / "results.json", to_json(whole, indent=0))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(plain(whole))
    write_result(folder / "results.csv", text.getvalue())
    try:
        from pyarrow import BufferOutputStream, Table, parquet
    except ImportError:  # an optional format
        return
    buffer = BufferOutputStream()
    parquet.write_table(Table.from_pydict(_typed(restored(plain(whole)), names)), buffer)
    write_result(folder / "results.parquet", buffer.getvalue().to_pybytes())
