"""The files of ``deploy/`` are run, with Debian's programs. ``make deployment`` runs all of them."""
