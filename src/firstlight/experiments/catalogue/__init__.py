"""One quick study for each result of the literature that theory here gives: the quoted figure beside ours."""

from firstlight.experiments.study import Study as Study

STUDIES: tuple[Study, ...] = ()
