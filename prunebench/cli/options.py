"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="the study folder")]
Profile = Annotated[str | None, typer.Option(help="a profile of study.yaml, such as quick")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; fixed at the study's first run")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]
Pilots = Annotated[
    list[Path] | None,
    typer.Option("--pilot", metavar="FOLDER", help="a study that gives spread and informative settings (repeatable)"),
]
SpreadPoints = Annotated[
    float | None,
    typer.Option("--sd", min=1e-6, help="standard deviation over models of the paired differences, in points"),
]
