"""Document: a result that people keep, as JSON and as a page, in a text or in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import overload

from firstlight.files import write_whole, written
from firstlight.files.plain_data import Record


class Document(ABC):
    """A result that is written down as JSON and as one HTML page.

    A class that derives from ``Document`` says what its dict and its page are; the two forms of each verb follow.

    Examples
    --------
    >>> from firstlight.render import Document
    >>> class Count(Document):
    ...     def to_dict(self):
    ...         return {"count": 3}
    ...     def _page(self):
    ...         return "<p>3</p>"
    >>> Count().to_json(), Count().to_html()
    ('{"count": 3}', '<p>3</p>')
    """

    @abstractmethod
    def to_dict(self) -> Record:
        """The result in a structure that JSON holds."""

    @abstractmethod
    def _page(self) -> str:
        """The result as one self-contained HTML document."""

    @overload
    def to_json(self, path: None = None) -> str: ...

    @overload
    def to_json(self, path: str | Path) -> Path: ...

    def to_json(self, path: str | Path | None = None) -> str | Path:
        """The result as JSON; with a path, the file it was written to, whole or not at all."""
        text = written(self.to_dict())
        return text if path is None else write_whole(path, text + "\n")

    @overload
    def to_html(self, path: None = None) -> str: ...

    @overload
    def to_html(self, path: str | Path) -> Path: ...

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """The result as one self-contained HTML page; with a path, the file it was written to, whole or not at all."""
        text = self._page()
        return text if path is None else write_whole(path, text)
