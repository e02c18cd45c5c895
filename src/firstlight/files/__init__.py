"""What goes to disk and comes back: whole files, and one JSON for numbers that JSON lacks."""

from __future__ import annotations

from firstlight.files._json import from_json as from_json
from firstlight.files._json import plain as plain
from firstlight.files._json import restored as restored
from firstlight.files._json import to_json as to_json
from firstlight.files._json import written as written
from firstlight.files._writing import WriteError as WriteError
from firstlight.files._writing import write_whole as write_whole
