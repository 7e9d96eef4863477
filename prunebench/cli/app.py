"""The Typer application and ``main``, which turns errors into one line and an exit code."""

from __future__ import annotations

import json
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

import analysis
from analysis.errors import AnalysisError, MistakesError
from bench.core.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
#: Largest number of characters of an error line: a message may quote a name of any length.
LONGEST_ERROR = 1500
#: The base class of Typer's errors for invalid options and arguments; it has no public name.
USAGE_ERROR: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="prunebench",
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Measure one-shot pruning and decide claims about it. A study is a folder: study.yaml defines what to run, "
        "claims.yaml what to test.\n\nStart with: prunebench new my-digits --from digits; prunebench run my-digits "
        "--profile quick; prunebench report my-digits"
    ),
)


def main() -> None:
    """Run the command line; an error that the user can correct is printed in one line, with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name may contain characters that the terminal cannot encode
            stream.reconfigure(errors="backslashreplace")
    # Python hides these warnings outside of __main__, but a study's own plug-in files are the user's to change
    warnings.filterwarnings("default", category=DeprecationWarning, module="prunebench_user_")
    try:
        _refuse_shadowed_packages()
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="prunebench", standalone_mode=False))
    except MistakesError as error:
        messages = list(error.lines)
    except (UserError, AnalysisError) as error:
        messages = [str(error)]
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "prunebench"
        messages = [f"{error.format_message().rstrip('.')}; see `{command} --help`"]
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except json.JSONDecodeError as error:  # only the texts of a store are parsed as JSON without a check
        messages = [f"a text in the store is damaged: {error}; restore a copy of results.db, or start a new study"]
    except OSError as error:
        messages = [f"{error.filename or 'the system'}: {error.strerror or error}"]
    for message in messages:
        print("error:", *_shortened(message).splitlines(), file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def _shortened(message: str) -> str:
    """Return a message of bounded length: its beginning names the place, its end names the remedy."""
    if len(message) <= LONGEST_ERROR:
        return message
    return f"{message[: LONGEST_ERROR // 2]} ... {message[-LONGEST_ERROR // 2 :]}"


def _refuse_shadowed_packages() -> None:
    """Raise UserError if a package of the working directory hides the `analysis` that belongs to this installation."""
    ours, theirs = Path(__file__).resolve().parents[2], Path(str(analysis.__file__)).resolve().parents[1]
    if ours != theirs:
        raise UserError(
            f"another package named 'analysis' ({theirs}) hides prunebench's ({ours}); rename that one or run elsewhere"
        )
