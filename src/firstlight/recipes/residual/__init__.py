"""Starts for residual networks: how large a branch may be beside its stream, with and without normalisers."""
