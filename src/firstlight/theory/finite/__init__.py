"""Finite width and finite depth: densities, kurtosis, spreads over networks, limits of depth."""
