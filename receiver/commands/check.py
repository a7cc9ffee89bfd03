"""The command ``check``: whether the settings are valid, before anything is started with them."""

from __future__ import annotations

import os

from receiver.console.access.users import load_users
from receiver.terminal import console, errors
from runtime.alerts import load_alerts
from runtime.settings import load_settings, unknown_settings


def check() -> None:
    """Check the settings, the tenants file and what they name, and call no server; `doctor` checks the rest."""
    settings = load_settings()
    tenants = sorted(settings.tenants)
    load_alerts(settings)
    load_users(settings.tenants_file)
    for sentence in unknown_settings(os.environ):
        errors.print(f"warning: {sentence}", highlight=False, soft_wrap=True)
    console.print(f"The settings are valid. Tenants: {', '.join(tenants)}.", highlight=False, soft_wrap=True)
