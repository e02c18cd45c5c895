"""What goes to disk and comes back: whole files, sealed files, one lock, and one JSON for numbers that JSON lacks."""

from __future__ import annotations

from firstlight.files._arrays import pack_arrays as pack_arrays
from firstlight.files._arrays import unpack_arrays as unpack_arrays
from firstlight.files._folders import TrustError as TrustError
from firstlight.files._folders import check_folder as check_folder
from firstlight.files._folders import locked as locked
from firstlight.files._folders import named_inside as named_inside
from firstlight.files._folders import own_folder as own_folder
from firstlight.files._json import from_json as from_json
from firstlight.files._json import plain as plain
from firstlight.files._json import restored as restored
from firstlight.files._json import to_json as to_json
from firstlight.files._json import written as written
from firstlight.files._sealed import SealError as SealError
from firstlight.files._sealed import memory as memory
from firstlight.files._sealed import read_sealed as read_sealed
from firstlight.files._sealed import versions as versions
from firstlight.files._sealed import write_sealed as write_sealed
from firstlight.files._writing import WriteError as WriteError
from firstlight.files._writing import expanded as expanded
from firstlight.files._writing import sweep_leftovers as sweep_leftovers
from firstlight.files._writing import write_whole as write_whole
