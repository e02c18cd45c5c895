import os

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state and default dtype."""
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32, "a test changed the default dtype and left it so"


@pytest.fixture(scope="session")
def data_dir():
    """The folder of image data laid out as torchvision does, or a skip that says how to get one."""
    path = os.environ.get("FIRSTLIGHT_DATA")
    if not path:
        pytest.skip("set FIRSTLIGHT_DATA to a folder with MNIST/raw and cifar-10-batches-py")
    return path
