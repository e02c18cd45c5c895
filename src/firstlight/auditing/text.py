"""The audit in a terminal: a table a hundred columns wide, the verdicts below; plain text elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import IO, TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from firstlight.auditing._blocks import blocks_table
from firstlight.auditing.rows import (
    NOT_GAUSSIAN,
    WORDS,
    by_severity,
    documented,
    headline,
    known_lines,
    overall,
    shape_text,
)
from firstlight.diagnosis.verdict import Verdict
from firstlight.doors import checked
from firstlight.probe.measurement import Measurement
from firstlight.profile import Profile
from firstlight.render import kept_random
from firstlight.render.markup import clean
from firstlight.render.numbers import counted, from_log, number

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    from firstlight.auditing.result import AuditResult

ROWS = 60
_ENDS = 14
_GAP = 2
_STYLES = {
    "unhealthy": "bold red",
    "not judged": "bold magenta",
    "warning": "bold yellow",
    "note": "bold blue",
    "healthy": "bold green",
}

# heading and column
_COLUMNS: tuple[tuple[str, str], ...] = (
    ("q", "q"),
    ("theory", "q_theory"),
    ("corr", "correlation"),
    ("theory", "correlation_theory"),
    ("rms ∂L/∂z", "log_grad"),
    ("theory", "log_grad_theory"),
    ("KS", "ks_standardised"),
    ("rank", "effective_rank"),
)
_EXTREMES = ("log_grad", "q", "correlation", "ks_standardised", "effective_rank", "absmax")


@runtime_checkable
class Stream(Protocol):
    """What a report can be printed to: standard output, a file, a ``StringIO``."""

    def write(self, text: str, /) -> object:
        """Write a text."""


@checked
def audit_text(result: AuditResult, *, width: int = 100) -> Group:
    """The audit for a rich console: the table, the verdicts, and what was left out.

    Parameters
    ----------
    result
        What the probe measured and what the diagnosis found.
    width
        Columns of the terminal.

    Returns
    -------
    rich.console.Group
        For ``rich.print`` or ``Console.print``.

    Examples
    --------
    >>> from rich.console import Console
    >>> from firstlight.auditing import AuditResult
    >>> group = audit_text(AuditResult(Measurement(Profile({}, "audit"))))
    >>> "Healthy" in "".join(segment.text for segment in Console().render(group))
    True
    """
    from rich.console import Group
    from rich.text import Text

    measurement, verdicts = result.measurement, result.verdicts
    parts: list[RenderableType] = [_title(measurement)]
    if len(measurement.profile):
        table, notes = _table(measurement.profile, width)
        parts += [table, *(Text(note, style="dim") for note in notes)]
        beside = blocks_table(measurement.profile)
        parts += [] if beside is None else [Text(""), beside]
    else:
        parts.append(Text("No row was measured.", style="dim"))
    severity = overall(verdicts)
    line = Text(f"{WORDS[severity]}: ", style=_STYLES[severity])
    parts += [
        Text(""),
        line.append(clean(headline(verdicts)), style="bold"),
        *_verdicts(verdicts),
        *_left_out(measurement),
    ]
    return Group(*parts)


@checked
def audit_plain(result: AuditResult, *, width: int = 100) -> str:
    """The same report as plain text, without colours.

    Examples
    --------
    >>> from firstlight.auditing import AuditResult
    >>> profile = Profile.from_rows([{"name": "fc", "kind": "weight", "q": 1.5}], source="audit")
    >>> text = audit_plain(AuditResult(Measurement(profile)))
    >>> [line.split() for line in text.splitlines() if "fc" in line]
    [['fc', 'weight', '1.5']]
    """
    stream = StringIO()
    with kept_random():
        from rich.console import Console

        console = Console(
            file=stream, width=width, color_system=None, force_terminal=False, legacy_windows=False
        )
        console.print(audit_text(result, width=width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


@checked
def print_audit(result: AuditResult, *, file: Stream | None = None, width: int | None = None) -> None:
    """Print the audit: with colours on a terminal, as plain text anywhere else.

    Parameters
    ----------
    file
        The text stream to print to; standard output by default. Characters that its encoding lacks become
        question marks.
    width
        Columns; by default those of the terminal, at most 100, and 100 where there is no terminal.
    """
    file = cast(IO[str], sys.stdout if file is None else file)
    with kept_random():
        from rich.console import Console

        console = Console(file=file, highlight=False, soft_wrap=False)
        if console.is_terminal and _shows_symbols(file):
            console = _sized(console, width if width is not None else min(console.width, 100))
            console.print(audit_text(result, width=console.width))
            return
    text = audit_plain(result, width=100 if width is None else width)
    encoding = getattr(file, "encoding", None) or "utf-8"
    file.write(text.encode(encoding, "replace").decode(encoding))


def _sized(console: Console, width: int) -> Console:
    console.width = width
    return console


def _shows_symbols(file: Stream) -> bool:
    try:
        "χ₁σ²−∞…".encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _title(measurement: Measurement) -> Text:
    from rich.text import Text

    meta = measurement.meta
    facts = [counted(len(measurement.profile), "row")]
    if isinstance(meta.get("parameters"), int):
        facts.append(f"{meta['parameters']:,} parameters".replace(",", " "))
    facts += [
        f"{name} {clean(shape_text(meta[name]))}"
        for name in ("batch", "dtype", "device", "loss")
        if meta.get(name)
    ]
    text = Text(clean(meta.get("model") or "audit"), style="bold")
    text.append("  " + ", ".join(facts), style="not bold dim")
    if measurement.coverage.used:
        text.append(f"\n{measurement.coverage.text}", style="not bold dim")
    return text


def _table(profile: Profile, width: int) -> tuple[Table, list[str]]:
    """The table, and the notes on what it shows and on the columns that a narrow terminal leaves out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = list(shown_rows(profile))
    numbers = [row for row in shown if isinstance(row, int)]
    present = [(head, name) for head, name in _COLUMNS if not np.isnan(profile[name]).all()]
    cells = {name: {row: _cell(profile, name, row) for row in numbers} for _, name in present}
    names = {row: clean(profile["name"][row]) for row in numbers}
    wanted = max(map(len, [*names.values(), "layer", *(row for row in shown if isinstance(row, str))]))
    room, kind_room = width - 2, min(10, max(len(clean(profile["kind"][row])) for row in numbers))
    sizes = {name: max(len(head), *(len(c) for c in cells[name].values())) + _GAP for head, name in present}
    gone: list[str] = []
    # on a narrow terminal the last columns are left out, so that the names stay different from each other
    while present and room - kind_room - _GAP - sum(sizes[name] for _, name in present) < min(wanted, 16):
        gone.insert(0, present.pop()[0])
    name_room = max(8, min(wanted, room - kind_room - _GAP - sum(sizes[name] for _, name in present)))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="ellipsis", no_wrap=True, width=name_room)
    table.add_column("kind", overflow="ellipsis", no_wrap=True, width=kind_room)
    for head, name in present:
        style = "cyan" if head == "theory" else ""
        table.add_column(head, justify="right", no_wrap=True, style=style, min_width=sizes[name] - _GAP)
    for row in shown:
        if isinstance(row, str):
            table.add_row(Text(row, style="dim italic"))
            continue
        kind = Text(clean(profile["kind"][row]), style="dim")
        table.add_row(Text(_tail(names[row], name_room)), kind, *(cells[name][row] for _, name in present))
    distances = [
        cells[name][row].plain for _, name in present if name == "ks_standardised" for row in numbers
    ]
    starred = any(text.endswith("*") for text in distances)
    notes = ["* marks a distance beyond the 5 % line of a Gaussian layer"] if starred else []
    if gone:
        notes.append(f"left out at this width: {', '.join(gone)}; a wider terminal shows them")
    return table, notes


def _tail(name: str, room: int) -> str:
    """The end of a name that is too long: a module's own name stands last."""
    return name if len(name) <= room else "…" + name[1 - room :]


def _cell(profile: Profile, column: str, row: int) -> Text:
    from rich.text import Text

    value = float(profile[column][row])
    text = Text(from_log(value) if column.startswith("log_") else number(value))
    judged = column == "ks_standardised" and profile["kind"][row] not in NOT_GAUSSIAN
    if judged and value > float(profile["ks_critical"][row]):
        return text.append("*", style="bold yellow")
    if column == "ks_standardised":
        # keeps the digits of starred and other numbers in line
        return text.append(" ")
    if math.isinf(value) and not column.startswith("log_"):
        text.stylize("bold red")
    return text


def shown_rows(profile: Profile) -> Iterator[int | str]:
    """Row numbers to print, and between them how many rows are hidden; everything up to sixty rows.

    A longer profile keeps the first and last rows, and the rows where a quantity is largest, smallest or not finite.

    Examples
    --------
    >>> list(shown_rows(Profile({"q": [1.0, 2.0]}, "audit")))
    [0, 1]
    """
    n = len(profile)
    if n <= ROWS:
        yield from range(n)
        return
    kept = {*range(_ENDS), *range(n - _ENDS, n)}
    for column in _EXTREMES:
        values = profile[column]
        known = np.flatnonzero(~np.isnan(values))
        if len(known):
            kept |= {int(known[values[known].argmax()]), int(known[values[known].argmin()])}
    broken = np.flatnonzero(np.nan_to_num(profile["nonfinite"]) > 0)
    # where a number stopped being finite matters most at its beginning
    kept |= {int(row) for row in broken[:6]}
    before = -1
    for row in sorted(kept):
        hidden = row - before - 1
        if hidden > 2:
            yield f"… {hidden} rows hidden"
        else:
            yield from range(before + 1, row)
        yield row
        before = row


def _verdicts(verdicts: Sequence[Verdict]) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = []
    for verdict in by_severity(verdicts):
        head = Text(f"{WORDS[verdict.severity]}  ", style=_STYLES[verdict.severity])
        head.append(clean(verdict.title), style="bold")
        head.append(f"  [{clean(verdict.code)}]", style="not bold dim")
        parts += [Text(""), head]
        if verdict.evidence:
            parts.append(Padding(Text(clean(verdict.evidence)), (0, 0, 0, 2)))
        if verdict.measured is not None:
            parts.append(Padding(Text(_figures(verdict)), (0, 0, 0, 2)))
        told = (("cause", verdict.cause), ("remedy", verdict.remedy), ("source", verdict.source))
        for label, text in (*told, ("lines", _lines(verdict))):
            if text:
                parts.append(
                    Padding(
                        Text(f"{label}: ", style="dim").append(clean(text), style="not dim"), (0, 0, 0, 2)
                    )
                )
        if verdict.layers:
            names = ", ".join(clean(name) for name in verdict.layers[:6])
            rest = f" and {len(verdict.layers) - 6} more" if len(verdict.layers) > 6 else ""
            parts.append(Padding(Text(f"rows: {names}{rest}", style="dim"), (0, 0, 0, 2)))
    return parts


def _lines(verdict: Verdict) -> str:
    """From where on the verdict warns and fails, and the place in the documentation."""
    lines = known_lines(verdict)
    if lines is None:
        return ""
    return "; ".join(part for part in (lines.text, documented(lines.page)) if part)


def _figures(verdict: Verdict) -> str:
    error = f" ± {number(verdict.uncertainty, digits=2)}" if verdict.uncertainty is not None else ""
    unit = f" {clean(verdict.unit)}" if verdict.unit else ""
    line = f"; threshold {number(verdict.threshold)}" if verdict.threshold is not None else ""
    why = f" ({clean(verdict.why)})" if verdict.why else ""
    return f"measured {number(verdict.measured)}{error}{unit}{line}{why}"


def _left_out(measurement: Measurement) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = []
    if measurement.skipped:
        skipped = [f"{clean(s.name)}: {clean(s.reason)}" for s in measurement.skipped[:12]]
        if len(measurement.skipped) > 12:
            skipped.append(f"and {len(measurement.skipped) - 12} more; the HTML and JSON reports list all")
        parts += [Text(""), Text("Not measured", style="bold"), _indented(skipped)]
    if measurement.notes:
        notes = [clean(note) for note in measurement.notes]
        parts += [Text(""), Text("What limits these numbers", style="bold"), _indented(notes)]
    return parts


def _indented(lines: Sequence[str]) -> RenderableType:
    """One line under another; where a line is wrapped, its rest stands further to the right."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row(Text(" –", style="dim"), Text(line))
    return grid
