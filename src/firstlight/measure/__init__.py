"""firstlight: measure."""
