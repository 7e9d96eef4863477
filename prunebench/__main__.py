"""Run the command line with ``python -m prunebench``."""

from prunebench.cli import main

main()
