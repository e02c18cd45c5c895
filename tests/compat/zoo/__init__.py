"""The third-party architectures that every release is checked against, built small and offline."""

from __future__ import annotations

from zoo.case import Case as Case
from zoo.convolutional import CONVOLUTIONAL
from zoo.drawn import DRAWN
from zoo.more_text import MORE_TEXT
from zoo.others import OTHERS
from zoo.sciences import SCIENCES
from zoo.text import TEXT
from zoo.timm_images import TIMM
from zoo.vision import VISION
from zoo.vits import VITS

CASES: tuple[Case, ...] = (*TEXT, *VISION, *CONVOLUTIONAL, *OTHERS)
# Audited for their coverage; their libraries install beside any build of torch, some without their dependencies.
WIDE: tuple[Case, ...] = (*TIMM, *VITS, *SCIENCES, *MORE_TEXT, *DRAWN)
# Starts that are sick, as training shows: docs/coverage_table.py says what was seen. Every other start here is sound.
SICK = frozenset({("vit-pytorch", "levit"), ("torch-geometric", "PNA")})
