"""Availability: downtime periods, outages with what is let out of them, days and months of EVSEs."""
