"""``python -m receiver`` is ``ampeco-receiver``."""

from receiver.cli import main

if __name__ == "__main__":
    main()
