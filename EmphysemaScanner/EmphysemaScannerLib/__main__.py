"""``python -m EmphysemaScannerLib``: the command line, where the command ``emphysema-scanner`` is not installed."""

from .commands.cli import main

if __name__ == "__main__":
    main()
