"""A module of any forward function, for tests of what an audit says."""

from torch import nn


class Forward(nn.Module):
    """A module of any forward function and parts."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *x):
        return self.function(self, *x)
