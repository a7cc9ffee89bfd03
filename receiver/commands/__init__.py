"""The command line, a module for each command."""

from __future__ import annotations
