import pytest
import torch


@pytest.fixture(scope="session")
def digits():
    """256 handwritten digits, 8×8, flattened; raw pixels are 0…16, so the mean makes inputs alike (c ≈ .8)."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().data[:256], dtype=torch.float32)
    return x / x.square().mean().sqrt()


@pytest.fixture
def codes():
    """The verdict codes of a result."""

    def of(result):
        return [v.code for v in result.verdicts]

    return of
