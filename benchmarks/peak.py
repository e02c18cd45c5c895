"""Peak resident memory of one thing in a process of its own: ``python -m benchmarks.peak MODEL plain|audit``."""

from __future__ import annotations

import resource
import subprocess
import sys


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
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes
    print(kilobytes / (1024 if sys.platform != "darwin" else 1024**2))


if __name__ == "__main__":
    main()
