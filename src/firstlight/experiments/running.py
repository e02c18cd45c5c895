"""Run a study, and write down with what it found how and when it was run."""

from __future__ import annotations

import datetime
import platform
import shlex
import time
from dataclasses import fields, replace
from typing import Any

from firstlight.data.images import IMAGE_SETS, fetch_images
from firstlight.data.loading import data_directory
from firstlight.errors import DomainError, did_you_mean
from firstlight.experiments.result import StudyResult
from firstlight.experiments.study import Settings, Study
from firstlight.files import versions


def run(study: Study, settings: Settings | None = None) -> StudyResult:
    """Run a study; the result says the command, the date, the hours and the versions.

    Raises
    ------
    DomainError
        A size that the study does not take, or of another kind.
    LoadError
        Data that is missing.

    Examples
    --------
    >>> from firstlight.experiments import Settings, find, run
    >>> sizes = {"nets": 20, "widths": 5, "networks": "tanh", "per_class": 1}
    >>> result = run(find("E1"), Settings(data="digits", sizes=sizes))
    >>> result.facts["command"].partition(" --set")[0]
    'firstlight reproduce wolinski2025/correlations --scale quick --data digits'
    """
    settings = settings or Settings()
    ready = filled(study, settings)
    start = time.perf_counter()
    findings = study.measure(ready)
    hours = round((time.perf_counter() - start) / 3600, 5)
    facts: dict[str, object] = {"command": command(study, settings), "hours": hours, "seed": settings.seed}
    facts |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    return StudyResult(
        study, settings.scale, findings, facts | {"python": platform.python_version(), **versions()}
    )


def filled(study: Study, settings: Settings) -> Settings:
    """The settings with every size of the study: those that were set, checked, and those of the scale.

    Raises
    ------
    DomainError
        A size that the study does not take or of another kind, or an image set where the study takes none.

    Examples
    --------
    >>> from firstlight.experiments import Settings, find
    >>> from firstlight.experiments.running import filled
    >>> filled(find("E2"), Settings(sizes={"widths": 30})).sizes["widths"], find("E2").sizes["nets"].quick
    ((30,), 1000)
    """
    for name in settings.sizes:
        if name not in study.sizes:
            raise DomainError(
                f"while setting up {study.name}: expected sizes among {', '.join(study.sizes) or 'none'}, got "
                f"{name!r}{did_you_mean(name, study.sizes)}"
            )
    if settings.data is not None and not study.takes_images:
        raise DomainError(
            f"while setting up {study.name}: expected no image set, which this study does not take, got "
            f"{settings.data!r}; leave it away"
        )
    given = {name: study.sizes[name].read(name, value) for name, value in settings.sizes.items()}
    own = {name: getattr(size, settings.scale) for name, size in study.sizes.items()}
    return replace(settings, sizes=own | given)


def fetch_data(study: Study, settings: Settings) -> None:
    """Fetch the image sets that a study needs and its folder lacks, from their official servers.

    Parameters
    ----------
    study, settings
        As ``filled`` gives the settings.

    Raises
    ------
    LoadError
        No folder is named, or a download fails.

    Examples
    --------
    >>> from firstlight.experiments import Settings, find
    >>> from firstlight.experiments.running import fetch_data
    >>> fetch_data(find("E2"), Settings())  # needs no images
    """
    wanted = (settings.data,) if settings.data is not None else settings.sizes.get("sets", study.images)
    for name in wanted:
        if name in IMAGE_SETS:
            fetch_images(name, data_directory(settings.directory, name))


def command(study: Study, settings: Settings) -> str:
    """The line that runs a study with these settings.

    Examples
    --------
    >>> from firstlight.experiments import Settings, find
    >>> from firstlight.experiments.running import command
    >>> command(find("E1"), Settings(data="digits", sizes={"widths": (10, 100)}))
    'firstlight reproduce wolinski2025/correlations --scale quick --data digits --set widths=10,100'
    """
    words = ["firstlight", "reproduce", study.name, "--scale", settings.scale]
    words += ["--data", settings.data] if settings.data is not None else []
    words += ["--seed", str(settings.seed)] if settings.seed else []
    for name, value in settings.sizes.items():
        several = isinstance(value, list | tuple)
        words += ["--set", f"{name}={','.join(map(str, value)) if several else value}"]
    return shlex.join(words)


def settings_of(**given: Any) -> Settings:
    """Settings from keywords: those of ``Settings``, and every other one as a size."""
    own = {one.name for one in fields(Settings)}
    sizes = dict(given.pop("sizes", {})) | {k: v for k, v in given.items() if k not in own}
    return Settings(**{k: v for k, v in given.items() if k in own}, sizes=sizes)
