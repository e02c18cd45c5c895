"""Reading numbers: entries taken from tensors within a budget, and the statistics of rows."""
