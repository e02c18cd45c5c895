"""Scales chosen on purpose: the edge of chaos, phase diagrams, criticality, sparsity, gains."""
