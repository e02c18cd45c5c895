"""The native kernel as a library: built when asked for, kept in the user's cache, found again by what it depends on."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from firstlight.errors import FirstlightError
from firstlight.pairs.modules._coefficients import cache_folder

_BASE = ("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# the fastest that the compiler takes: threads need OpenMP, which Apple's compiler has not
_CHOICES = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
_SECONDS = 120


class BuildError(FirstlightError, RuntimeError):
    """The native kernel cannot be built here."""


def build() -> Path:
    """Compile the kernel with the machine's C++ compiler, about a second, unless the cache has it; its path.

    The compiler is ``$CXX``, or else the first of c++, g++ and clang++ on the path. The library is kept in
    ``$FIRSTLIGHT_CACHE`` (else ``~/.cache/firstlight``) under a name made from its source, the processor and the
    compiler's flags; it does not depend on the version of torch. It is written whole or not at all.

    Raises
    ------
    BuildError
        No compiler, a compiler that fails (with what it says), or a cache that cannot be written.

    Examples
    --------
    >>> from firstlight.pairs.modules import kernel
    >>> kernel.build() == kernel.build()  # doctest: +SKIP
    True
    """
    path = library_path()
    if path.exists():
        return path
    compiler = _compiler()
    said = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
            source, made = Path(folder) / "kernel.cpp", Path(folder) / path.name
            source.write_text(_source(), encoding="utf-8")
            for flags in _CHOICES:
                command = [compiler, *_BASE, *flags, str(source), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
                if done.returncode == 0:
                    os.replace(made, path)
                    return path
                said = said or done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(
            f"while building the native pair kernel with {compiler} in {path.parent}: expected a library, got {error}; "
            "set CXX to a compiler that works and FIRSTLIGHT_CACHE to a folder that can be written, or go on "
            "without: the pure module gives the same numbers"
        ) from error
    raise BuildError(
        f"while building the native pair kernel: expected {compiler} to compile it, got: {said[-600:]}; set CXX to "
        "another C++17 compiler, or go on without: the pure module gives the same numbers"
    )


@cache
def _name() -> str:
    parts = (_source(), " ".join(_BASE), platform.system(), platform.machine(), _processor())
    return f"pair-kernel-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:20]}.so"


@cache
def load() -> ctypes.CDLL:
    """The library in this process, its functions typed; loaded once, so that a call costs a look-up.

    Raises
    ------
    BuildError
        When it cannot be built, or the file is no library for this machine.
    """
    path = build()
    try:
        library = ctypes.CDLL(str(path))
        pointer, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        library.pair_forward.argtypes = [pointer, pointer, count, pointer, number]
        library.pair_backward.argtypes = [pointer, pointer, pointer, count, pointer, number]
        library.pair_forward.restype = library.pair_backward.restype = None
    except (OSError, AttributeError) as error:
        raise BuildError(
            f"while loading the native pair kernel: expected a library of this machine at {path}, got {error}; "
            "delete the file and build again"
        ) from error
    return library


def library_path() -> Path:
    """Where the library of this source and this machine is, or would be."""
    return cache_folder() / _name()


def _compiler() -> str:
    named = os.environ.get("CXX")
    for name in (named,) if named else ("c++", "g++", "clang++"):
        found = shutil.which(name)
        if found:
            return found
    raise BuildError(
        f"while building the native pair kernel: expected a C++ compiler, got none ({named or 'c++, g++, clang++'} is "
        "not on the path); install one, name it in CXX, or go on without: the pure module gives the same numbers"
    )


def _source() -> str:
    return resources.files("firstlight.pairs.modules").joinpath("kernel.cpp").read_text(encoding="utf-8")


@cache
def _processor() -> str:
    """What the library may not outlive: the instructions that this processor has."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return f"{platform.processor()} {platform.release()}"
