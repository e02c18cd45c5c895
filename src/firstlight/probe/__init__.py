"""firstlight: probe."""
