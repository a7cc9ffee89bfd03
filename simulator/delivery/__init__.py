"""The delivery of notifications to subscribers, and its faults."""
