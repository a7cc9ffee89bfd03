"""The demo and the chaos test, against the simulator."""
