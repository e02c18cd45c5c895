"""Thousands of random networks in seconds: exact samplers, mergeable statistics, runs that can be resumed."""

from __future__ import annotations

from firstlight.ensemble.plan import Plan as Plan
from firstlight.ensemble.result import Ensemble as Ensemble
from firstlight.ensemble.runs.engines import Dask as Dask
from firstlight.ensemble.runs.engines import Local as Local
from firstlight.ensemble.runs.engines import Ray as Ray
from firstlight.ensemble.runs.run import run as run
from firstlight.ensemble.simulate import simulate as simulate
from firstlight.ensemble.sums.correlations import class_means as class_means
