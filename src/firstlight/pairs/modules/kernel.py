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

from firstlight.clean_room import clean
from firstlight.errors import FirstlightError, LoadError, RunError
from firstlight.files import TrustError, read_sealed, versions, write_sealed
from firstlight.pairs.modules._coefficients import cache_folder, locked_cache, open_cache

_BASE = ("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# the fastest that the compiler takes: threads need OpenMP, which Apple's compiler has not
_CHOICES = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
_KIND, _SECONDS = "library", 120


class BuildError(FirstlightError, RuntimeError):
    """The native kernel cannot be built here."""


def build() -> Path:
    """Compile the kernel with the machine's C++ compiler, about a second, unless the cache has it; its path.

    The compiler is ``$CXX``, or else the first of c++, g++ and clang++ on the path. The library is kept in
    ``$FIRSTLIGHT_CACHE`` (else ``~/.cache/firstlight``), a folder that others may not write in, under a name made from
    its source, the processor and the compiler's flags. The file is sealed: magic, identity, length and SHA-256 stand
    before the library, and nothing of it is loaded unless all of them fit.

    Raises
    ------
    BuildError
        No compiler, a compiler that fails (with what it says), a cache that cannot be written, or a cache in which
        others may write.

    Examples
    --------
    >>> from firstlight.pairs.modules import kernel
    >>> kernel.build() == kernel.build()  # doctest: +SKIP
    True
    """
    if not is_built():
        _compile()
    return library_path()


def is_built() -> bool:
    """Whether the cache has a whole library of this source and this machine.

    Raises
    ------
    BuildError
        If others may change the cache.
    """
    return _library() is not None


def _library() -> bytes | None:
    """The library in the cache, its seal checked; None where there is none, or none that is whole."""
    if not cache_folder().is_dir():
        return None
    try:
        open_cache()
        return read_sealed(library_path(), _KIND, _identity())
    except TrustError as error:
        raise BuildError(f"while looking for the native pair kernel: {error}") from error
    except LoadError:
        return None


def _compile() -> None:
    compiler = _compiler()
    path, said = library_path(), ""
    try:
        open_cache()
        with tempfile.TemporaryDirectory(prefix="firstlight-build-") as folder:
            source, made = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            source.write_text(_source(), encoding="utf-8")
            for flags in _CHOICES:
                command = [compiler, *_BASE, *flags, str(source), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
                if done.returncode == 0:
                    with locked_cache():
                        write_sealed(path, _KIND, _identity(), made.read_bytes())
                    return
                said = said or done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired, RunError, TrustError) as error:
        raise BuildError(
            f"while building the native pair kernel with {compiler} in {path.parent}: expected a library, got {error}; "
            "set CXX to a compiler that works and FIRSTLIGHT_CACHE to a folder that can be written, or go on "
            "without: the pure module gives the same numbers"
        ) from error
    raise BuildError(
        f"while building the native pair kernel: expected {compiler} to compile it, got: {said[-600:]}; set CXX to "
        "another C++17 compiler, or go on without: the pure module gives the same numbers"
    )


def _identity() -> dict[str, str]:
    return {"library": _name(), **versions()}


@cache
@clean
def _name() -> str:
    parts = (_source(), " ".join(_BASE), platform.system(), platform.machine(), _processor())
    return f"pair-kernel-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:20]}.library"


@cache
@clean
def load() -> ctypes.CDLL:
    """The library in this process, its functions typed; loaded once, so that a call costs a look-up.

    Raises
    ------
    BuildError
        When it cannot be built, or the file is no library for this machine.
    """  # noqa: DOC501
    path = build()
    body = _library()
    try:
        if body is None:
            raise OSError("the file was taken away")
        library = _loaded(body)
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


def _loaded(body: bytes) -> ctypes.CDLL:
    """The checked bytes as a library, from a file that nobody else can open and that has gone when this returns."""
    failure: OSError | None = None
    for place in (None, cache_folder()):  # some systems run nothing from their folder of temporary files
        try:
            with tempfile.TemporaryDirectory(prefix="firstlight-load-", dir=place) as folder:
                file = Path(folder) / "kernel.so"
                file.write_bytes(body)
                return ctypes.CDLL(str(file))
        except OSError as error:
            failure = failure or error
    assert failure is not None
    raise failure


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
@clean
def _processor() -> str:
    """What the library may not outlive: the instructions that this processor has."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return f"{platform.processor()} {platform.release()}"
