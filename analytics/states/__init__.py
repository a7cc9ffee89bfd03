"""The states of EVSEs: stretches of time, from the statuses of EVSE, charge point and network."""
