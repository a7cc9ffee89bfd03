"""Read-only views for `status`, the demo and the chaos test."""
