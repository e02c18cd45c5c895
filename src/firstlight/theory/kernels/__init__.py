"""Gaussian processes of infinitely wide networks: NNGP and NTK kernels, posteriors, features."""

from firstlight.moved import old_names as _old_names

__getattr__ = _old_names("theory.kernels", Kernels="theory:Kernels", kernels="theory:kernels")
