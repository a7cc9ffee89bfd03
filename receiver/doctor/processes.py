"""The checks of the processes: a receiver, and a worker for each queue, are alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from receiver.doctor.diagnosis import Diagnosis
from storage.monitoring.processes import ListedProcess
from workers.broker import QUEUES

RECEIVERS = "receivers"

#: The check of the processes that consume, if Kafka is configured.
CONSUMERS = "consumers"

#: The names of the checks that every deployment has.
CHECKS = (RECEIVERS, *(f"workers of {queue}" for queue in QUEUES))


def checks(*, with_kafka: bool) -> tuple[str, ...]:
    """Return the names of the checks.

    Parameters:
        with_kafka: whether Kafka is configured.
    """
    return (RECEIVERS, CONSUMERS, *CHECKS[1:]) if with_kafka else CHECKS


def look_at_processes(processes: Sequence[ListedProcess], *, with_kafka: bool = False) -> Iterator[Diagnosis]:
    """Check that every part of the service has a process that is alive.

    Parameters:
        with_kafka: whether Kafka is configured, so that a process has to consume.
    """
    yield _look(RECEIVERS, [process for process in processes if process.name == "serve"], "serve")
    if with_kafka:
        yield _look(CONSUMERS, [process for process in processes if process.name == "consume"], "consume")
    for queue, name in zip(QUEUES, CHECKS[1:], strict=True):
        workers = [process for process in processes if queue in _queues(process)]
        yield _look(name, workers, f"work --queue {queue}")


def _queues(process: ListedProcess) -> list[str]:
    """Return the queues that a process serves; none if it is not a worker."""
    command, _, queues = process.name.partition(" ")
    return queues.split("+") if command == "work" else []


def _look(name: str, processes: Sequence[ListedProcess], command: str) -> Diagnosis:
    alive = [process for process in processes if process.is_alive]
    if not alive:
        lost = sum(process.is_lost for process in processes)
        detail = f"none is alive; {lost} stopped without order in the last day" if lost else "none is alive"
        return Diagnosis(name, "failed", detail, f"start `ampeco-receiver {command}`, or `ampeco-receiver up`")
    hindered = [f"process {process.pid} on {process.host}: {process.problem}" for process in alive if process.problem]
    if hindered:
        return Diagnosis(name, "warning", "; ".join(hindered), "see the log of these processes")
    return Diagnosis(name, "ok", f"{len(alive)} alive")
