"""Dramatiq workers: apply what was accepted, refresh what is known only in part, sweep.

Redis and Dramatiq carry wake-ups, never truth: what there is to do stands in Postgres,
and a message only says that it is worth a look.
"""
