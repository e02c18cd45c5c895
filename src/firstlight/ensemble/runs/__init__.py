"""Runs: shards, seeds, engines and folders of a simulation, and sweeps over many simulations."""
