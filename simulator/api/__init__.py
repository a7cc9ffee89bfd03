"""The simulated API."""
