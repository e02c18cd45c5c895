"""Exact partners: laws of |φ(X)|, the activation in float64, and the proof by numbers."""

from firstlight.moved import old_names

__getattr__ = old_names("pairs.exact", ExactActivation="pairs:ExactActivation")
