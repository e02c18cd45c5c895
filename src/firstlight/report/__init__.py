"""firstlight: report."""
