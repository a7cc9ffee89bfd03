"""Findings: what looks wrong in the data, by named rules.

A finding is found first, may be found resolved, and may be found again; its row stays.

A round that derives only notes in ``analytics.finding_due`` what is to be evaluated. A later transaction evaluates it,
once all changes from before that round are derived. So no round waits for rules, entities that change often are
evaluated once for all their changes, and a rule never compares an EVSE with sessions that are still to be derived.
"""
