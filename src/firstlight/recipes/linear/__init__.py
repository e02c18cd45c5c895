"""Starts at which a deep network is nearly linear: mirrored units, small signals, identities, shaped activations."""
