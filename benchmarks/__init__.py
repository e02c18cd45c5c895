"""Speed and memory as ratios against named peers, inside one run: ``python -m benchmarks [topic…]``."""
