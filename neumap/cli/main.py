"""The ``neumap`` command: parses arguments, runs one verb, turns errors into one line and an exit status.

A verb is a module of this package: its docstring is the description in the help, ``HELP`` the summary,
``add_arguments(parser)`` defines the arguments, and ``run(args)`` returns the exit status. Heavy modules are imported
inside ``run``, so that help is instant.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from neumap import __version__
from neumap.errors import NeumapError

# VERBS: modules of this package, in the order of the help.
VERBS = (
    "map",
    "merge",
    "transform",
    "check",
    "localize",
    "evaluate",
    "info",
    "view",
    "export",
    "replay",
    "demo",
    "pretrain",
)

INTERRUPTED = 130  # as shells report a process that SIGINT ended
EXAMPLES = """examples:
  neumap demo                                                    see it work, without any data
  neumap map drive_bag --out kitchen.neumap                      map a drive
  neumap localize kitchen.neumap other_bag --out poses.txt       find images of another one in it
"""


class Parser(argparse.ArgumentParser):
    """Suggests verbs and options for mistyped ones; ``verbs`` are the parsers of the verbs."""

    verbs: tuple[argparse.ArgumentParser, ...] = ()

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, with a suggestion, and exit with status 2."""
        super().error(f"{message}{self._suggestion(message)}")

    def _suggestion(self, message: str) -> str:
        lacking = re.search(r"argument (?:-\w/)?(--[\w-]+): expected (?:at least )?one argument", message)
        if lacking is not None:
            return f"; write {lacking[1]}=VALUE for a value that begins with -"
        wrong = re.search(r"invalid choice: '([^']*)'|unrecognized arguments: (-\S+)", message)
        if wrong is None:
            return ""
        # argparse reports the unknown options of a verb on the parser above
        actions = [action for parser in (self, *self.verbs) for action in parser._actions]
        known = VERBS if wrong[1] is not None else [name for action in actions for name in action.option_strings]
        meant = difflib.get_close_matches(wrong[1] or wrong[2].partition("=")[0], known, n=1)
        return f"; did you mean {meant[0]}?" if meant else ""


def make_parser() -> Parser:
    """Make the parser with all verbs."""
    parser = Parser(
        prog="neumap",
        description="Where is the camera? Localization in a neural map, from images alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"neumap {__version__}")
    subparsers = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB")
    for name in VERBS:
        verb = import_module(f"neumap.cli.{name}")
        verb_parser = subparsers.add_parser(name, help=verb.HELP, description=verb.__doc__)
        verb.add_arguments(verb_parser)
        verb_parser.set_defaults(run=verb.run)
        parser.verbs = (*parser.verbs, verb_parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 1 for errors, 130 when interrupted.

    Wrong usage raises ``SystemExit(2)`` and help ``SystemExit(0)``, as argparse does.
    """
    try:
        return _run(argv)
    except NeumapError as error:
        return _fail(str(error))
    except ImportError as error:
        from neumap.installation import missing

        lacking = missing(error)
        if lacking is None:
            raise
        return _fail(str(lacking))
    except KeyboardInterrupt as stop:
        _fail(str(stop) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = make_parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
            import argcomplete

            argcomplete.autocomplete(parser)
        args = parser.parse_args(argv)
        if "run" not in args:
            parser.print_help()
            return 2
        status: int = args.run(args)
        return status
    finally:
        # raise for a closed pipe or a full disk here, not when Python is already shutting down
        if sys.stdout is not None:
            sys.stdout.flush()


def _fail(message: str) -> int:
    print(f"neumap: error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Drop what is still buffered for stdout, so that writing it does not fail again at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):
        # stdout is closed or not a file: nothing is buffered
        return
