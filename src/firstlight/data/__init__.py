"""firstlight: data."""
