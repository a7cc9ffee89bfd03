"""The simulated tenant: its fleet, its people, and what happens to them."""
