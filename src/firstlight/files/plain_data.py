"""Plain data: what JSON, TOML and the tables of results hold."""

from __future__ import annotations

from typing import Any, TypeAlias

# A None, a truth value, a number, a text, or a list or a record of these, which only a reader of the record knows.
Plain: TypeAlias = Any
# Plain data by name: an object of JSON, or one row of a table.
Record: TypeAlias = dict[str, Plain]
