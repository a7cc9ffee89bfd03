"""The command ``demo``: the command line of :mod:`receiver.demo.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from receiver.commands.speed import SpeedOption
from receiver.demo.demo import run_demo

#: A year, which is as good as no end.
MAX_SECONDS = 366 * 86_400.0


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_SECONDS, help="Stop after so many seconds; by default, at Ctrl-C."),
    ] = None,
    speed: SpeedOption = 60,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for the data of the embedded servers while it runs.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view to this file, as SVG.")] = None,
) -> None:
    """Run the simulator and the whole service, and show a live view of the database."""
    run_demo(seconds=seconds, speed=speed, data_dir=data_dir, picture=picture)
