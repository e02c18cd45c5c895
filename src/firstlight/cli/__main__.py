"""``python -m firstlight.cli`` is the ``firstlight`` command."""

from firstlight.cli.command import main

if __name__ == "__main__":
    raise SystemExit(main())
