"""What the tools' command lines share: their own options, then a config's settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from seg_al.config import load


class ToolParser(argparse.ArgumentParser):
    """Options of a tool that takes a config; ``--help`` after the config lists the config's settings too.

    Args:
        doc: the tool's docstring: a line that says what it does, then examples.
    """

    def __init__(self, doc: str | None, usage: str) -> None:
        summary, _, rest = (doc or "").partition("\n\n")
        super().__init__(
            usage=usage, description=summary, epilog=rest, allow_abbrev=False, add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="list options; after CONFIG, its settings too")

    def load(self, kind: Any, more: Sequence[str] = ()) -> tuple[argparse.Namespace, Any, list[str]]:
        """Return the tool's options, the config with its settings as typed, and these as they were typed.

        Args:
            kind: what the config is to be.
            more: names of options whose value, True, is a setting of the config as well.

        Raises:
            UserError: as `seg_al.load`.
        """
        arguments, overrides = self.parse_known_args()
        set_too = [part for name in more if getattr(arguments, name) for part in (f"--{name}", "True")]
        own = [option for action in self._actions for option in action.option_strings]
        return arguments, load(arguments.config, [*overrides, *set_too], kind, own), overrides


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        parser.print_help()
        if namespace.config:
            print(f"\nsettings of {namespace.config}:\n", flush=True)
            load(namespace.config, ["--help"])
        parser.exit()
