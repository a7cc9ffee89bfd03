"""The service: the ASGI app with its accept path, the command line, and the processes it starts.

The accept path in the order of a request: ``notifications`` (HTTP), ``accept`` (bytes in,
log row out), ``committer`` (one commit for all who wait), ``notifier`` (wakes a worker).
"""
