"""Gaussian processes of infinitely wide networks: NNGP and NTK kernels, posteriors, features."""

from firstlight.moved import old_names

__getattr__ = old_names("theory.kernels", Kernels="theory:Kernels", kernels="theory:kernels")
