"""Exact partners: laws of |φ(X)|, the activation in float64, and the proof by numbers."""

from firstlight.moved import old_names as _old_names

__getattr__ = _old_names("pairs.exact", ExactActivation="pairs:ExactActivation")
