"""The checks of ``ampeco-receiver doctor``: of the settings, the servers, the processes and each tenant."""

from __future__ import annotations
