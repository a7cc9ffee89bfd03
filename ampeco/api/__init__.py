"""The HTTP API of a tenant: client, transport, listings and answers."""
