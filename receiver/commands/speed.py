"""The speed of the simulator, for the commands that start it."""

from __future__ import annotations

from typing import Annotated

import typer

#: A month in less than half a minute, which no machine keeps up with.
MAX_SPEED = 100_000.0

SpeedOption = Annotated[
    float, typer.Option(min=1, max=MAX_SPEED, help="How much faster than real time the simulator runs.")
]
