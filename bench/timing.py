"""Whether the time that a wrong signature takes tells how much of it was right.

Two wrong signatures are compared: one whose first half is right, and one of which nothing is.
They are verified in turn, in a random order, so that whatever else the machine does falls on
both alike; what is left is told with its uncertainty. Nobody fails here: a machine's noise is
no verdict. That every token is compared, in constant time, is a test of its own.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from ampeco.signature import SigningToken, sign, verify

BODY = b'{"notification": "evse.changed"}'
TOKENS = ("current-token", "previous-token")

#: The slowest calls were interrupted; they say nothing about what was compared.
KEPT_SHARE = 0.9

#: Student's t at which a difference is held to be real, with as many measurements as there are.
TELLING_T = 4.5


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two kinds of wrong signature took, nanoseconds."""

    prefix_right_ns: float
    nothing_right_ns: float
    difference_ns: float
    error_ns: float
    calls: int

    @property
    def t(self) -> float:
        return self.difference_ns / self.error_ns

    def told(self) -> str:
        verdict = "no usable difference" if abs(self.t) < TELLING_T else "A DIFFERENCE THAT CAN BE MEASURED"
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
    offered = {"prefix": right[:32] + wrong[32:], "nothing": wrong}
    order = list(offered) * calls
    random.Random(0).shuffle(order)
    took: dict[str, list[int]] = {kind: [] for kind in offered}
    for kind in order:
        signature = offered[kind]
        began = time.perf_counter_ns()
        verify(BODY, signature, keys)
        took[kind].append(time.perf_counter_ns() - began)
    prefix, nothing = (sorted(took[kind])[: int(calls * KEPT_SHARE)] for kind in offered)
    error = (statistics.variance(prefix) / len(prefix) + statistics.variance(nothing) / len(nothing)) ** 0.5
    means = statistics.fmean(prefix), statistics.fmean(nothing)
    return Difference(*means, means[0] - means[1], error, calls)
