"""Two receivers and four workers, and something is killed every few seconds."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.support.processes import Process, end
from tests.support.service import free_port
from tests.support.trial import Ground

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))

#: Fixed, so that a run that failed can be run again; what the processes do in between is not fixed.
SEED = int(os.environ.get("SOAK_SEED", "20260304"))

MIN_PEACE_SECONDS, MAX_PEACE_SECONDS = 0.5, 8.0


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES + 600)
def test_random_kills_lose_nothing(ground: Ground) -> None:
    service = ground.service
    second = f"http://127.0.0.1:{free_port()}"
    receivers = {service.url: ground.receiver, second: service.serve(second)}
    workers: list[Process] = [ground.worker, *(service.work() for _ in range(3))]
    chance = random.Random(SEED)
    with ground.load(f"soak: random kills for {MINUTES:g} min"):
        ends_at = time.monotonic() + 60 * MINUTES
        while time.monotonic() < ends_at:
            time.sleep(chance.uniform(MIN_PEACE_SECONDS, MAX_PEACE_SECONDS))
            match chance.choice(["receiver", "worker", "worker", "worker", "Redis", "Postgres"]):
                case "receiver":
                    url = chance.choice(list(receivers))
                    end(receivers[url])
                    receivers[url] = service.serve(url)
                case "worker":
                    place = chance.randrange(len(workers))
                    end(workers[place])
                    workers[place] = service.work()
                case "Redis":
                    ground.redis.kill()
                    ground.redis.start()
                case "Postgres":
                    ground.postgres.kill()
                    ground.postgres.start()
            # A worker that met a dead Postgres at its start ended; a supervisor starts it again.
            workers = [one if one.poll() is None else service.work() for one in workers]
