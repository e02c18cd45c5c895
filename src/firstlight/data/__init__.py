"""Samples to feed to a model: image sets, files of arrays, Gaussian noise, and a user's own factories."""

from __future__ import annotations

from firstlight.data._limits import mapped as mapped
from firstlight.data.arrays import read_arrays as read_arrays
from firstlight.data.dataset import Dataset as Dataset
from firstlight.data.dataset import first_tensor as first_tensor
from firstlight.data.download import RemoteFile as RemoteFile
from firstlight.data.download import fetch as fetch
from firstlight.data.idx import read_idx as read_idx
from firstlight.data.images import IMAGE_SETS as IMAGE_SETS
from firstlight.data.images import ImageSet as ImageSet
from firstlight.data.images import read_images as read_images
from firstlight.data.loading import NAMES as NAMES
from firstlight.data.loading import load as load
from firstlight.data.locate import locate as locate
from firstlight.data.unpickle import read_pickle as read_pickle
