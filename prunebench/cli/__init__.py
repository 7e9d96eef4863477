"""The command line, assembled from one file per group of commands.

A command imports what is slow to import inside its function, so that commands that only read never load torch.
"""

from prunebench.cli import (
    audit,
    catalogue,
    kappa,
    progress,
    prune,
    registration,
    results,
    run,
    study,
    timestamp,
)
from prunebench.cli.app import app, main

__all__ = ["app", "main"]

for group in (study, registration, timestamp, run, progress, audit, results, kappa, prune, catalogue):
    app.add_typer(group.commands)
