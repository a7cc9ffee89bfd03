"""Run the console under uvicorn."""

from __future__ import annotations

import contextlib
import signal

import uvicorn

from receiver.console.access.users import load_users
from receiver.console.app import create_console_app
from runtime.heartbeat import registered
from runtime.logging import get_logger
from runtime.settings import Settings, SettingsError
from runtime.sockets import address_of, bind, is_loopback

logger = get_logger(__name__)

#: Streams do not end by themselves, so a stop does not wait for them.
SHUTDOWN_SECONDS = 1


def serve_console(settings: Settings) -> None:
    """Serve the console until SIGTERM or SIGINT.

    Raises:
        SettingsError: the port is not available, or there are no users and other machines can reach the console.
        TenantsError: the users are configured wrongly.
    """
    app = create_console_app(settings)
    listeners = bind(settings.console_host, settings.console_port, setting="RECEIVER_CONSOLE_PORT")
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        has_users = bool(load_users(settings.tenants_file))
        if not has_users and not all(is_loopback(listener) for listener in listeners):
            raise SettingsError(
                f"RECEIVER_CONSOLE_HOST: {settings.console_host} can be reached by other machines, so the console needs"
                " users: add [console.users.NAME] to the tenants file."
            )
        stack.enter_context(registered(settings.required_database_url(), "console"))
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops in order, and then raises the signal again, which would end this process before that.
            signal.signal(number, lambda *_: None)
        url = f"http://{address_of(settings.console_host, listeners[0].getsockname()[1])}"
        logger.info("serving the console", url=url, sign_in_required=has_users)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        uvicorn.Server(config).run(listeners)
    logger.info("stopped")
