"""Resources: the models of what the API answers, and the registry of kinds."""

from __future__ import annotations
