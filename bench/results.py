"""Compute the results of the rounds: medians, ratios with their spread, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.applied import Applied, Visible
from bench.generator import Figures


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of each subject, made one after the other."""

    baseline: Figures
    ours: Figures
    one_insert: Figures
    applied: Applied
    beside_deriving: Figures


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, lowest and highest value over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with a goal.

    It is taken within each round, because whatever slows the machine down for a while slows down both
    sides of the ratio. The median of the rounds counts.
    """

    name: str
    goal: float
    of: Callable[[Round], float]


RATIOS = (
    Ratio("b/a", 0.7, lambda measured: measured.ours.per_second / measured.baseline.per_second),
    Ratio("b/c", 2.5, lambda measured: measured.ours.per_second / measured.one_insert.per_second),
    Ratio("d/a", 0.25, lambda measured: measured.applied.per_second / measured.baseline.per_second),
    Ratio("f/b", 0.5, lambda measured: measured.beside_deriving.per_second / measured.ours.per_second),
)


@dataclass(slots=True)
class Results:
    """All results of a run."""

    environment: dict[str, str]
    rounds: list[Round] = field(default_factory=list)
    visible: Visible | None = None

    def spread(self, figure: Callable[[Round], float]) -> Spread:
        """Return the spread of a value over the rounds."""
        return Spread.of([figure(measured) for measured in self.rounds])

    def as_json(self) -> dict[str, Any]:
        """Return all results in a form that can be encoded as JSON."""
        return {
            "environment": self.environment,
            "rounds": [
                {
                    "a": _figures(measured.baseline),
                    "b": _figures(measured.ours),
                    "c": _figures(measured.one_insert),
                    "d": asdict(measured.applied) | {"per_second": measured.applied.per_second},
                    "f": _figures(measured.beside_deriving),
                }
                for measured in self.rounds
            ],
            "ratios": {
                ratio.name: asdict(spread) | {"goal": ratio.goal, "met": spread.median >= ratio.goal}
                for ratio in RATIOS
                for spread in [self.spread(ratio.of)]
            },
            "e": asdict(self.visible) if self.visible else None,
        }


def _figures(figures: Figures) -> dict[str, Any]:
    return asdict(figures) | {"per_second": figures.per_second}
