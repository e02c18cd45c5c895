"""Severities of verdicts, by their codes."""

import firstlight


def severities(model, batch, **how):
    """Of the verdicts on a model."""
    return severities_of(firstlight.audit(model, batch, **how))


def severities_of(result):
    """Of the verdicts of a result."""
    return {v.code: v.severity for v in result.verdicts}
