"""The command ``demo``: the command line of :mod:`receiver.demo.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from receiver.demo.demo import run_demo

#: A year, which is as good as no end.
MAX_SECONDS = 366 * 86_400.0

#: A month in less than half a minute, which no machine keeps up with.
MAX_SPEED = 100_000.0


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_SECONDS, help="Stop after so many seconds; by default, at Ctrl-C."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=1, max=MAX_SPEED, help="How much faster than real time the simulator runs.")
    ] = 60,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for the data of the embedded servers while it runs.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view to this file, as SVG.")] = None,
) -> None:
    """Run the simulator and the whole service, and show a live view of the database."""
    run_demo(seconds=seconds, speed=speed, data_dir=data_dir, picture=picture)
