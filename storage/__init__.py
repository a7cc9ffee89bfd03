"""Postgres: the inbox, the mirrored state with its history, and the refresh queue.

Read in this order: ``tables`` (what is kept), ``inbox`` (accepted bytes and their
progress), ``facts`` and ``fold`` (what a notification says), ``upsert`` (the guard that
refuses older facts), ``history`` (observations) and ``refresh_queue`` (what to read
from the API). Nothing in here knows HTTP or Dramatiq.
"""
