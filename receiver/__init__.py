"""The receiver: the ASGI app with its accept path, the command line, and the processes that it starts.

The modules of the accept path, in the order of a request: ``notifications`` (HTTP), ``accept`` (verify the bytes),
``committer`` (one commit for all waiting notifications), ``notifier`` (wake a worker).
"""

from __future__ import annotations
