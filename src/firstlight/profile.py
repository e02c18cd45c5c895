"""Profile: the one per-layer result that theory, ensembles and audits all give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np

from firstlight.doors import checked
from firstlight.errors import DomainError, LoadError, MissingError
from firstlight.files import from_json, plain, restored, write_whole
from firstlight.files import to_json as json_of
from firstlight.files.plain_data import Record

FORMAT = "firstlight-profile/1"


@dataclass(frozen=True)
class Column:
    """What one column of a profile means: its definition, its unit, and whether it holds text."""

    name: str
    meaning: str
    unit: str = ""
    text: bool = False


def _columns(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


COLUMNS: Mapping[str, Column] = _columns(
    Column("name", "where the row was measured: the module's path, with #k for its k-th call", text=True),
    Column(
        "kind",
        "input, weight, norm, activation, affine, residual, attention, recurrent or embedding",
        text=True,
    ),
    Column("op", "the operation, as torch names it", text=True),
    Column("shape", "shape of the output", text=True),
    Column("depth", "weight layers passed on the longest path from an input up to and including this row"),
    Column("mean", "mean of the entries", "z"),
    Column("q", "second moment: mean of the squared entries", "z²"),
    Column("q_se", "standard error of q from subsampling; 0 where every entry was read", "z²"),
    Column("var", "variance of the entries about their mean", "z²"),
    Column("kurtosis", "excess kurtosis of the entries; 0 for a Gaussian"),
    Column("ks", "Kolmogorov–Smirnov distance of the entries to N(0,1)"),
    Column("ks_standardised", "the same after each sample is divided by its own root mean square over units"),
    Column(
        "ks_critical",
        "5 % line of ks_standardised for Gaussian entries correlated as these are",
    ),
    Column("n_eff", "effective number of independent entries behind ks_standardised"),
    Column("correlation", "mean cosine between the rows of different samples"),
    Column("correlation_se", "standard error of correlation over pairs of samples and units"),
    Column(
        "token_correlation", "mean cosine between the tokens of one sample, or between the places of its map"
    ),
    Column("token_rank", "effective rank of the tokens (or places) of one sample, mean over samples"),
    Column("vne", "entropy of the spectrum of the samples' directions, in nats (von Neumann)", "nat"),
    Column("epsilon_rank", "singular values of samples × units above 1 % of the largest"),
    Column("dse", "entropy of the spectrum of a diffusion over the samples, kernel of width 10", "bit"),
    Column("pattern_distance", "share of units in whose sign two samples differ, mean over pairs"),
    Column("pattern_share", "different patterns of signs over samples"),
    Column(
        "folding", "how much the path of the batch's samples, in order, folds: 0 straight, towards 1 back"
    ),
    Column("zeros", "share of the entries that are exactly zero"),
    Column("dc_share", "squared mean of the entries over q: the part of the signal that all samples share"),
    Column("top_over_median", "largest absolute entry over the median absolute entry"),
    Column("information", "information on the input, entries cut into 30 bins of equal count", "bit"),
    Column(
        "information_labels", "information on integer targets, by the same bins; missing without such", "bit"
    ),
    Column("router_largest", "largest share of tokens of an expert times the number of experts: 1 even"),
    Column("router_idle", "share of the experts that receive no token"),
    Column("gate_entropy", "entropy of a router's gates over ln(experts): 1 even, 0 one-hot"),
    Column("attention_max", "largest attention weight of a query, mean over the later half of the queries"),
    Column("attention_entropy", "entropy of the attention weights over ln(keys): 1 even, 0 one-hot"),
    Column(
        "channel_mean_square", "squared mean of a channel over samples and places, mean over channels", "z²"
    ),
    Column("channel_var", "variance of a channel over samples and places, mean over channels", "z²"),
    Column("branch_var", "channel_var of the branch of a residual sum", "z²"),
    Column("effective_rank", "exp of the entropy of the normalised Gram spectrum of the samples"),
    Column(
        "isometry_gap",
        "−log(geometric / arithmetic mean) of the Gram eigenvalues; inf: rank deficient",
    ),
    Column("dead", "share of units that are zero, or have zero slope, on every sample"),
    Column("saturated", "share of entries where the activation's slope is below 5 % of its largest slope"),
    Column("absmax", "largest absolute entry", "z"),
    Column(
        "outlier_ratio",
        "largest absolute entry over √(robust deviation² + median²), the deviation being interquartile range / 1.349",
    ),
    Column("nonfinite", "share of entries that are NaN or infinite"),
    Column("log_grad", "natural log of the root mean square of ∂L/∂z", "nat"),
    Column("growth", "log of the squared gradient norm here over that at the rows it feeds", "nat per layer"),
    Column("log_weight_grad", "natural log of the Frobenius norm of ∂L/∂W", "nat"),
    Column("weight_shape", "shape of the weight", text=True),
    Column("fan_in", "weights that reach one output unit"),
    Column("weight_std", "standard deviation of the weight entries"),
    Column("weight_kurtosis", "excess kurtosis of the weight entries; 0 Gaussian, −1.2 uniform"),
    Column("sigma_w", "weight scale √(fan-in · E w²)"),
    Column("sigma_b", "bias scale √(E b²)"),
    Column(
        "weight_flags",
        "faults of the weight: zero, constant (parting: its units get different gradients), cloned, non-finite, meta",
        text=True,
    ),
    Column("q_theory", "second moment that Gaussian theory gives here from the row before", "z²"),
    Column(
        "token_correlation_theory",
        "token_correlation that theory of attention (theory.AttentionMap) gives here from the measured logits",
    ),
    Column(
        "q_blocks",
        "second moment that theory of whole blocks gives here from the tokens that enter the first, at this width",
        "z²",
    ),
    Column("q_blocks_z", "measured q less q_blocks, in deviations between networks of this width"),
    Column("token_correlation_blocks", "token_correlation from the same theory of whole blocks"),
    Column(
        "token_correlation_blocks_z", "token_correlation less that of whole blocks, in the same deviations"
    ),
    Column("token_rank_blocks", "token_rank from the same theory of whole blocks"),
    Column("token_rank_blocks_z", "token_rank less that of whole blocks, in the same deviations"),
    Column("correlation_theory", "correlation that Gaussian theory gives here from the row before"),
    Column("log_grad_theory", "log rms gradient that Gaussian theory gives here from the rows after", "nat"),
    Column("growth_theory", "growth that Gaussian theory gives here", "nat per layer"),
    Column("chi", "slope χ₁ = σ_w² E φ'(z)² of the next weight layer at the measured q"),
    Column("quantisation_noise", "noise over signal of the rounded pre-activations, squares"),
    Column("gradient_noise", "noise over signal of the rounded gradients, squares"),
    Column("norm_gain", "squared gradient factor of a normaliser, γ²/σ² at the measured σ"),
    Column("q_ratio", "measured q over q_theory"),
    Column("gradient_ratio", "measured mean squared gradient over the one of theory"),
)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _array(name: str, values: Any) -> np.ndarray:
    """The values in an array of their own: numbers, or texts where missing is empty."""
    try:
        if is_text(name, values):
            array = np.array(["" if _missing(value) else str(value) for value in values], dtype=object)
        else:
            array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"while making a Profile: expected numbers, or texts, in the column {name!r}, got {values!r:.80} ({error})"
        ) from error
    if array.ndim != 1:
        raise DomainError(
            f"while making a Profile: expected one value per row in the column {name!r}, got {array.ndim} axes"
        )
    return array


# what a profile shows of itself as text, and in how many rows
_LEADING = (
    "name", "depth", "q", "q_theory", "kurtosis", "ks", "ks_standardised", "correlation", "chi", "log_grad",
)  # fmt: skip
_ROWS = 20


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str) else "–" if math.isnan(value) else f"{value:.4g}"


class _Taken(Mapping[str, np.ndarray]):
    """Some rows of columns, each column taken when somebody asks for it: rules read few of fifty."""

    def __init__(self, columns: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
        self._columns, self._rows = columns, np.array(rows)
        self._taken: dict[str, np.ndarray] = {}
        next((self[name] for name in columns), None)  # rows that do not exist are told of at once

    def __getitem__(self, name: str) -> np.ndarray:
        found = self._taken.get(name)
        if found is None:
            found = self._taken[name] = self._columns[name][self._rows]
            found.flags.writeable = False
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


@checked
@dataclass(frozen=True, repr=False)
class Profile:
    """One row per layer and one column per quantity; what is missing is NaN (or an empty text).

    Parameters
    ----------
    columns
        Column name to a sequence of one value per row. The vocabulary is ``firstlight.profile.COLUMNS``;
        other names are kept as they are.
    source
        Which way of knowing made it: ``"audit"``, ``"predict"`` or ``"simulate"``.
    meta
        Facts about the whole run that JSON can hold.

    Examples
    --------
    >>> from firstlight.profile import Profile
    >>> profile = Profile.from_rows([{"name": "0", "q": 1.0}, {"name": "1", "q": 0.5}], source="predict")
    >>> profile["q"]
    array([1. , 0.5])
    >>> profile
    <Profile by predict: 2 rows of name, q>
    >>> print(profile)
    name    q
       0    1
       1  0.5
    >>> Profile.from_json(profile.to_json()) == profile
    True
    """

    columns: Mapping[str, Any]
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays: dict[str, np.ndarray] = {}
        for name, values in self.columns.items():
            array = _array(name, values)
            array.flags.writeable = False
            arrays[name] = array
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise DomainError(
                f"while making a Profile: every column needs one value per row, got lengths {lengths}"
            )
        object.__setattr__(self, "columns", arrays)

    @classmethod
    def from_rows(
        cls, rows: Iterable[Mapping[str, object]], *, source: str, meta: Mapping[str, object] | None = None
    ) -> Profile:
        """Make a profile from one mapping per row; a column that a row lacks is missing there."""
        rows = list(rows)
        names: dict[str, bool] = {}
        for row in rows:
            for name, value in row.items():
                text = names.get(name)
                if text is None and name in COLUMNS:
                    names[name] = COLUMNS[name].text
                elif not text and name not in COLUMNS:
                    names[name] = is_text(name, [value])
        columns = {
            name: [row.get(name, "" if text else math.nan) for row in rows] for name, text in names.items()
        }
        return cls(columns, source, dict(meta or {}))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> Any:
        """The values of one column, one per row; all missing if the column is known but was not filled."""
        if name in self.columns:
            return self.columns[name]
        if name in COLUMNS:
            return np.full(len(self), "", object) if COLUMNS[name].text else np.full(len(self), math.nan)
        raise MissingError(
            f"while reading a Profile: no column {name!r}; it has {', '.join(self.columns) or 'none'}"
        )

    def __iter__(self) -> Iterator[Record]:
        """The rows in order, each a plain dict."""
        for i in range(len(self)):
            yield {name: column[i] for name, column in self.columns.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        known = [name for name in self.columns if name not in ("kind", "op", "shape")]
        return f"<Profile by {self.source}: {len(self)} rows of {', '.join(known)}>"

    def __str__(self) -> str:
        """The first and last rows of the leading columns, as text; ``to_frame`` gives them all."""
        shown = [name for name in _LEADING if name in self.columns]
        shown = [name for name in shown if is_text(name, self[name]) or np.isfinite(self[name]).any()]
        rows = range(len(self))
        picked = list(rows) if len(rows) <= _ROWS else [*rows[: _ROWS - 5], *rows[-5:]]
        cells = [[_short(self[name][row]) for name in shown] for row in picked]
        widths = [max(len(row[i]) for row in [shown, *cells]) for i in range(len(shown))]
        lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in [shown, *cells]]
        if len(picked) < len(rows):
            lines.insert(_ROWS - 4, f"… {len(rows) - len(picked)} rows more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The leading columns as a table, for a notebook."""
        from firstlight.render.brief import small_table
        from firstlight.render.table import Head

        shown = [name for name in _LEADING if name in self.columns]
        heads = [Head(n, COLUMNS[n].meaning if n in COLUMNS else "", text=is_text(n, self[n])) for n in shown]
        rows = [[self[name][row] for name in shown] for row in range(len(self))]
        return small_table(heads, rows, title=repr(self)[1:-1])

    def select(self, *kinds: str) -> Profile:
        """The rows of these kinds, in order, for example ``profile.select("weight")``."""
        return self.take(np.array([kind in kinds for kind in self["kind"]], bool))

    def take(self, rows: np.ndarray) -> Profile:
        """The rows with these numbers, or at the places of a mask."""
        taken = object.__new__(Profile)  # these columns are columns already, and nobody else's
        vars(taken).update(columns=_Taken(self.columns, rows), source=self.source, meta=self.meta)
        return taken

    def to_dict(self) -> Record:
        """A plain structure that ``json`` can write; NaN and ±∞ are texts, as ``firstlight.files.plain`` says."""
        return plain(self._parts())

    def _parts(self) -> Record:
        columns = {name: list(column) for name, column in self.columns.items()}
        return {"format": FORMAT, "source": self.source, "meta": dict(self.meta), "columns": columns}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Profile:
        """The inverse of ``to_dict``.

        Raises
        ------
        LoadError
            If the data was not written by ``to_dict``.
        """
        return cls._read(restored(data))

    @classmethod
    def _read(cls, data: Any) -> Profile:
        found = data.get("format") if isinstance(data, Mapping) else f"a {type(data).__name__}"
        if found != FORMAT:
            raise LoadError(
                f"while reading a Profile: expected format {FORMAT!r}, got {found!r}; "
                "was it written by firstlight's to_json?"
            )
        try:
            return cls(dict(data["columns"]), str(data["source"]), dict(data["meta"]))
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise LoadError(
                "while reading a Profile: expected source, meta and columns of one value per row, got "
                f"{type(error).__name__}: {error}; was it written by firstlight's to_json, and whole?"
            ) from error

    @overload
    def to_json(self, path: None = None) -> str: ...

    @overload
    def to_json(self, path: str | PathLike[str]) -> Path: ...

    def to_json(self, path: str | PathLike[str] | None = None) -> str | Path:
        """The profile as JSON that ``from_json`` reads back without loss; with a path, the file it was written to."""
        text = json_of(self._parts())
        return text if path is None else write_whole(path, text + "\n")

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of ``to_json``; raises as ``from_dict``."""
        return cls._read(from_json(text, what="a Profile"))

    def to_frame(self) -> Any:
        """The profile as a pandas DataFrame; needs the ``frame`` extra."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "while turning a Profile into a DataFrame: pandas is not installed; "
                "`pip install pandas`, or iterate over the profile for plain dicts"
            ) from error
        return pandas.DataFrame({name: column.copy() for name, column in self.columns.items()})


def is_text(name: str, values: Any = ()) -> bool:
    """Whether a column holds text: as the vocabulary says, else judged by its values."""
    if name in COLUMNS:
        return COLUMNS[name].text
    return any(isinstance(value, str) for value in values)
