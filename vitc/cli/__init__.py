"""The command line: `vitc COMMAND`, one file per command."""

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from vitc import __version__
from vitc.errors import VitcError

# What `vitc --help` says of each. A command's module is imported when it is chosen, for most of
# them bring in training, data and weights.
COMMANDS = {
    "demo": "Train a Vision Transformer from scratch on photographs of solar cells, in minutes.",
    "fit": "Train a classifier on a folder of images.",
    "validate": "Evaluate a model on labelled images.",
    "evaluate": "Evaluate a model with intervals, by group, with leaks and mistakes, as a report.",
    "predict": "Predict the classes of image files.",
    "quantize": "Quantise a model, or compare what its precisions cost and bring.",
    "export": "Write a model for other runtimes: an ONNX file, a model repository for Triton, "
    "a file for C.",
    "tune": "Measure how high the tiles of a thread should be on this machine, by precision.",
    "profile": "Show where the time of a model goes, beside what the processor can do.",
    "models": "Fetch a model with its weights, to carry it to machines without network.",
    "aug-preview": "Write a picture of what augmentation does to your images, to look at before "
    "training.",
}
# What files, values and missing packages cause, with a message that says what to do. Anything else
# is a fault of vitc.
EXPECTED = (ImportError, MemoryError, OSError, ValueError, VitcError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 1 after a user error, which is reported as
    one line on stderr, 70 after an error of vitc itself, 130 after Ctrl-C, and 141 where the output
    was closed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments).parse_args(arguments)
    options.words = ["vitc", *arguments]
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads on, as behind `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        expected = isinstance(error, EXPECTED)
        if options.traceback or not expected:
            traceback.print_exc()
        said = (str(error) or type(error).__name__) if expected else _FAULT
        print(f"vitc: {said}", file=sys.stderr)
        return 1 if expected else 70


_FAULT = "this is an error in vitc, not in your data; please report it with the lines above"


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of the one that the arguments name."""
    parser = argparse.ArgumentParser("vitc", description="Vision Transformers on CPUs.")
    parser.add_argument("--version", action="version", version=f"vitc {__version__}")
    show: dict[str, Any] = dict(
        action="store_true", help="show where in the code an error was raised"
    )
    parser.add_argument("--traceback", **show)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == chosen:
            module = importlib.import_module(f"vitc.cli.{name.replace('-', '_')}")
            command.description = module.__doc__
            module.add_arguments(command)
            command.add_argument("--traceback", default=argparse.SUPPRESS, **show)
            command.set_defaults(run=module.run)
    return parser
