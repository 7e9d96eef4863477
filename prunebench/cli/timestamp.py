"""The command ``timestamp``: request and store the time-stamp of a registration."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from bench.core.errors import UserError
from prunebench.cli.options import StudyFolder

commands = typer.Typer()


@commands.command()
def timestamp(
    study: StudyFolder,
    token: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the authority's answer: verify and store it")
    ] = None,
    certificates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the authority's root certificate, and any intermediate ones")
    ] = None,
) -> None:
    """Write the request for a time-stamp of a registration (RFC 3161), or verify and store the answer."""
    from bench.study.timestamp import describe_certificates, read_certificates, store_token, write_request

    if (token is None) != (certificates is None):
        raise UserError("timestamp: give both --token FILE and --certificates FILE, or neither to write the request")
    if token is None or certificates is None:
        request, answer = write_request(study), study / "answer.tsr"
        typer.echo(f"wrote {request}; it contains the SHA-256 of the registration, and nothing else of the study")
        typer.echo("send it to a time-stamping authority, whose address replaces URL:")
        header = "Content-Type: application/timestamp-query"
        typer.echo(f"  curl -H '{header}' --data-binary @{quote(str(request))} -o {quote(str(answer))} URL")
        typer.echo(f"next: prunebench timestamp {study} --token {answer} --certificates ROOT.pem")
        return
    time = store_token(study, token, certificates)
    typer.echo(f"time-stamped {time:%Y-%m-%d %H:%M:%S} UTC, by an authority under one of these certificates:")
    for line in describe_certificates(read_certificates(certificates)):
        typer.echo(f"  {line}")
    typer.echo("compare the fingerprint with the one that the authority publishes: anyone can make such certificates")
    typer.echo(f"next: prunebench run {study}")
