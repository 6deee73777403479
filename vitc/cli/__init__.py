"""The command line: `vitc COMMAND`, one file per command."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from vitc import __version__
from vitc.errors import VitcError

COMMANDS = ("demo", "fit", "validate", "predict", "quantize", "export", "models", "aug-preview")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status. What the user can mend is said in one sentence."""
    parser = argparse.ArgumentParser("vitc", description="Vision Transformers on CPUs.")
    parser.add_argument("--version", action="version", version=f"vitc {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"vitc.cli.{name.replace('-', '_')}")
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except (ImportError, MemoryError, OSError, TypeError, ValueError, VitcError) as error:
        print(f"vitc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
