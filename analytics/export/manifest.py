"""What a destination holds of a tenant: a manifest of each range of change numbers that was exported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from analytics.export.destination import Destination
from analytics.export.errors import ExportError

#: The folder of the manifests.
MANIFESTS = "_manifests"

#: The file in it that names a range whose export has begun, and not ended.
UNFINISHED = "unfinished.json"

_NAME = re.compile(r"changes-(\d+)-(\d+)\.json")


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Change numbers from the first to the last, both included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its files without the suffix; in alphabetical order they are in the order of the numbers."""
        return f"changes-{self.first:012}-{self.last:012}"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of a range: its path in the destination, with the number of its rows, its size and its digest."""

    path: str
    table: str
    month: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A range of a tenant's change numbers.

    Attributes:
        contract: the version of the contract.
        epoch: the epoch of the feed; numbers of different epochs must not be mixed.
        files: its files.
    """

    contract: str
    epoch: str
    tenant: str
    range: Range
    files: tuple[ExportedFile, ...] = ()

    def to_json(self) -> bytes:
        """Return its JSON."""
        document = {
            "contract": self.contract,
            "epoch": self.epoch,
            "tenant": self.tenant,
            "from": self.range.first,
            "to": self.range.last,
            "files": [asdict(file) for file in self.files],
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Exports:
    """The exports of a tenant at a destination."""

    def __init__(self, destination: Destination, tenant: str) -> None:
        self._destination = destination
        self._tenant = tenant
        self._folder = f"{MANIFESTS}/tenant={tenant}"
        names = map(_NAME.fullmatch, destination.names(self._folder))
        self.ranges = sorted(Range(int(match[1]), int(match[2])) for match in names if match)

    @property
    def last(self) -> int | None:
        """The highest number that was exported; None if none was."""
        return max((known.last for known in self.ranges), default=None)

    def newest(self) -> Manifest | None:
        """Return the manifest of the newest range; None if there is none."""
        if not self.ranges:
            return None
        return self._load(f"{max(self.ranges, key=lambda known: known.last).name}.json")

    def unfinished(self) -> Manifest | None:
        """Return the range whose export has begun, and not ended; its last file may be missing."""
        begun = self._load(UNFINISHED)
        return None if begun is None or begun.range in self.ranges else begun

    def begin(self, manifest: Manifest) -> None:
        """Note the range that is being exported, with those of its files that are whole or about to get their names."""
        self._destination.write(f"{self._folder}/{UNFINISHED}", manifest.to_json())

    def end(self, manifest: Manifest) -> None:
        """Write the manifest of a range, all of whose files are there."""
        self._destination.write(f"{self._folder}/{manifest.range.name}.json", manifest.to_json())
        self.ranges = sorted([*self.ranges, manifest.range])
        self._destination.remove(f"{self._folder}/{UNFINISHED}")

    def _load(self, name: str) -> Manifest | None:
        path = f"{self._folder}/{name}"
        content = self._destination.read(path)
        if content is None:
            return None
        try:
            return _parsed(orjson.loads(content))
        except (ValueError, KeyError, TypeError):
            raise ExportError(
                f"{self._tenant}: {path} in {self._destination.shown} is no manifest of an export: choose another"
                " folder, or restore the file."
            ) from None


def _parsed(document: dict[str, Any]) -> Manifest:
    return Manifest(
        contract=str(document["contract"]),
        epoch=str(document["epoch"]),
        tenant=str(document["tenant"]),
        range=Range(int(document["from"]), int(document["to"])),
        files=tuple(ExportedFile(**file) for file in document["files"]),
    )


def covered(ranges: Iterable[Range], since: int) -> int:
    """Return the number up to which ranges hold every change after ``since``."""
    reached = since
    for known in sorted(ranges):
        if known.first <= reached + 1:
            reached = max(reached, known.last)
    return reached
