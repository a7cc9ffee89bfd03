"""The receiver: the ASGI app with its accept path, the command line, and the processes that it starts.

The modules of the accept path, in the order of a request: ``endpoint`` (HTTP), ``acceptor`` (verify the bytes),
``committer`` (one commit for all waiting notifications), ``notifier`` (wake a worker).
The module ``process`` starts and stops them.
"""

from __future__ import annotations
