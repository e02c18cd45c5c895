"""Thousands of random networks in seconds: exact samplers, mergeable statistics, runs that can be resumed."""

from __future__ import annotations

from firstlight.ensemble.plan import Plan as Plan
from firstlight.ensemble.result import Ensemble as Ensemble
from firstlight.ensemble.runs.engines import Dask as Dask
from firstlight.ensemble.runs.engines import Local as Local
from firstlight.ensemble.runs.engines import Ray as Ray
from firstlight.ensemble.runs.run import run as run
from firstlight.ensemble.runs.sweep import Sweep as Sweep
from firstlight.ensemble.runs.sweep import correlated_inputs as correlated_inputs
from firstlight.ensemble.runs.sweep import run_sweep as run_sweep
from firstlight.ensemble.simulate import simulate as simulate
from firstlight.ensemble.sums.correlations import class_means as class_means
from firstlight.ensemble.sums.distance import ks_of_deviations as ks_of_deviations
from firstlight.ensemble.sums.distance import ks_of_values as ks_of_values
from firstlight.ensemble.sums.sketch import Sketch as Sketch
from firstlight.ensemble.sums.streaming import Comparison as Comparison
from firstlight.ensemble.sums.streaming import Stream as Stream
