"""The admin endpoints: health, readiness and metrics."""
