"""Starts for networks of coordinates: frequencies in the first weights, sines behind them."""
