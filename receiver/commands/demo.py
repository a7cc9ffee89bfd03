"""The command ``demo``: the command line of :mod:`receiver.demo.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from receiver.demo.demo import run_demo


def demo(
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds; by default, at Ctrl-C.")] = None,
    speed: Annotated[float, typer.Option(min=1, help="How much faster than real time the simulator runs.")] = 60,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for the data of the embedded servers while it runs.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view to this file, as SVG.")] = None,
) -> None:
    """Run the simulator and the whole service, and show a live view of the database."""
    run_demo(seconds=seconds, speed=speed, data_dir=data_dir, picture=picture)
