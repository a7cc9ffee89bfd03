"""Measure whether the time to reject a wrong signature reveals how much of it was right.

Two wrong signatures are compared: one whose first half is right, and one that is wrong throughout.
They are verified in a random order, so that other work of the machine affects both equally. The
difference is printed with its uncertainty. This is a report that cannot fail, because the noise of a
machine is no evidence. A separate test verifies that every token is compared in constant time.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from ampeco.signature import SigningToken, sign, verify

BODY = b'{"notification": "evse.changed"}'
TOKENS = ("current-token", "previous-token")

#: The share of the fastest calls that count; the slowest were interrupted and show nothing about the comparison.
KEPT_SHARE = 0.9

#: Parts of a run that are compared separately. Disturbances of a machine last longer than a call, so
#: single calls are not independent measurements.
BLOCKS = 50

#: Student's t at which a difference counts as real; by chance, about one run in twenty thousand exceeds it.
SIGNIFICANT_T = 4.5


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean times of the two kinds of wrong signature, in nanoseconds."""

    prefix_right_ns: float
    nothing_right_ns: float
    difference_ns: float
    error_ns: float
    calls: int

    @property
    def t(self) -> float:
        """Student's t of the difference."""
        return self.difference_ns / self.error_ns

    def render(self) -> str:
        """Return the report."""
        verdict = "no usable difference" if abs(self.t) < SIGNIFICANT_T else "A DIFFERENCE THAT CAN BE MEASURED"
        return (
            f"wrong, first half right: {self.prefix_right_ns:8.1f} ns\n"
            f"wrong, nothing right:    {self.nothing_right_ns:8.1f} ns\n"
            f"difference:              {self.difference_ns:+8.1f} ns ± {self.error_ns:.1f}"
            f" (t = {self.t:+.2f}, {self.calls:,} calls of each): {verdict}"
        )


def measure(calls: int) -> Difference:
    """Time ``calls`` verifications of each kind of wrong signature."""
    keys = [SigningToken.from_secret(token) for token in TOKENS]
    right = sign(BODY, TOKENS[0])
    wrong = "".join("0" if digit != "0" else "1" for digit in right)
    means: list[tuple[float, float]] = []
    for block in range(BLOCKS):
        # New strings for each block, because their place in memory changes the time by some nanoseconds.
        offered = {"prefix": "".join([right[:32], wrong[32:]]), "nothing": "".join([wrong[:32], wrong[32:]])}
        order = list(offered) * (calls // BLOCKS)
        random.Random(block).shuffle(order)
        took: dict[str, list[int]] = {kind: [] for kind in offered}
        for kind in order:
            signature = offered[kind]
            began = time.perf_counter_ns()
            verify(BODY, signature, keys)
            took[kind].append(time.perf_counter_ns() - began)
        prefix, nothing = (sorted(took[kind])[: int(len(took[kind]) * KEPT_SHARE)] for kind in offered)
        means.append((statistics.fmean(prefix), statistics.fmean(nothing)))
    differences = [prefix_ns - nothing_ns for prefix_ns, nothing_ns in means]
    error = statistics.stdev(differences) / BLOCKS**0.5
    prefix_right, nothing_right = (statistics.fmean(kind) for kind in zip(*means, strict=True))
    return Difference(prefix_right, nothing_right, prefix_right - nothing_right, error, calls)
