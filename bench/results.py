"""From the rounds to figures: medians, ratios with their spread, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.applied import Applied, Visible
from bench.generator import Figures


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of each, taken one after the other."""

    baseline: Figures
    ours: Figures
    one_insert: Figures
    applied: Applied


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio that a goal is set for.

    It is taken within each round, as what slows the machine down for a while slows both
    of its sides; the median of the rounds counts.
    """

    name: str
    goal: float
    of: Callable[[Round], float]


RATIOS = (
    Ratio("b/a", 0.7, lambda one: one.ours.per_second / one.baseline.per_second),
    Ratio("b/c", 2.5, lambda one: one.ours.per_second / one.one_insert.per_second),
    Ratio("d/a", 0.25, lambda one: one.applied.per_second / one.baseline.per_second),
)


@dataclass(slots=True)
class Results:
    """Everything that a run found."""

    environment: dict[str, str]
    rounds: list[Round] = field(default_factory=list)
    visible: Visible | None = None

    def spread(self, figure: Callable[[Round], float]) -> Spread:
        return Spread.of([figure(one) for one in self.rounds])

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "environment": self.environment,
            "rounds": [
                {
                    "a": _figures(one.baseline),
                    "b": _figures(one.ours),
                    "c": _figures(one.one_insert),
                    "d": asdict(one.applied) | {"per_second": one.applied.per_second},
                }
                for one in self.rounds
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
