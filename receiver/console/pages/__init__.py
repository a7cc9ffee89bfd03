"""The pages of the console, one module for each subject."""

from __future__ import annotations
