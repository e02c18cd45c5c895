"""firstlight: gauss."""
