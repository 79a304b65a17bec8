"""The command line `magistral`: one file a subcommand."""

import argparse
import sys
from collections.abc import Sequence

from magistral_operator.cli import plan
from magistral_operator.cli.errors import CommandError

FAILED = 2
"""Exit status when the command could not do its work; argparse ends with the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser("magistral", description="Tools beside kubectl for MagistralRuns.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan.add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except CommandError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader, `head` for example, has seen enough.
        sys.stderr.close()
        return FAILED
