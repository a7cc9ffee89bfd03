"""Run ``ampeco-receiver`` as ``python -m receiver``."""

from __future__ import annotations

from receiver.commands.main import main

if __name__ == "__main__":
    main()
