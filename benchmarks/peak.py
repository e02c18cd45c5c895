"""Peak resident memory of one thing in a process of its own: ``python -m benchmarks.peak MODEL plain|audit``."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path


def measure(model: str, what: str) -> float:
    """Peak resident megabytes of a fresh process that builds the model and does ``what`` twice."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peak", model, what], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    import torch

    from benchmarks.models import build, plain_pass

    name, what = sys.argv[1:3]
    torch.set_num_threads(1)
    model, batch = build(name)
    for _ in range(2):
        if what == "plain":
            plain_pass(model, batch)
        else:
            import firstlight

            firstlight.audit(model, batch)
    print(peak_megabytes())


def peak_megabytes() -> float:
    """Peak resident memory of this program alone.

    ``ru_maxrss`` will not do on Linux: a child starts from its parent's, so a large parent hides everything.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)  # macOS counts in bytes


if __name__ == "__main__":
    main()
