"""The third-party architectures that every release is checked against, built small and offline."""

from __future__ import annotations

from zoo.case import Case as Case
from zoo.convolutional import CONVOLUTIONAL
from zoo.others import OTHERS
from zoo.text import TEXT
from zoo.vision import VISION

CASES: tuple[Case, ...] = (*TEXT, *VISION, *CONVOLUTIONAL, *OTHERS)
