"""The version, in one place: the package, its pages, its files and the build read it here."""

__version__ = "0.1.0"
