"""Gaussian processes of infinitely wide networks: NNGP and NTK kernels, posteriors, features."""
