"""Sessions, attempts to charge, and the keys of drivers."""
