"""The garbage collector does not look through what a process loaded at its start."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

from tests.support.service import Service, eventually, serving
from workers.process import work


def test_a_process_that_accepts_freezes_what_it_loaded(database_url: str, redis_url: str, tmp_path: Path) -> None:
    gc.unfreeze()  # of the tests
    with serving(database_url, redis_url, tmp_path):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_a_work_process_freezes_what_it_loaded(service: Service) -> None:
    gc.unfreeze()  # of the service and the tests
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(service.settings, {"apply"}, stop))
    worker.start()
    try:
        eventually(lambda: gc.get_freeze_count() > 0)
    finally:
        stop.set()
        worker.join(60)
    assert gc.get_freeze_count() == 0
