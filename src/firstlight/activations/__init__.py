"""firstlight: activations."""
