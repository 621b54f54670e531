"""Several nodes in one process: what `composed` of a graph starts.

Called with ``--ros-args WORDS -- NODE WORDS -- NODE WORDS -- ...``: first what concerns the whole
process, then for each node the name of its program, and the words that its own process would have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import groupby
from pathlib import Path

from radar_pose_ros.leaving import EXIT_USAGE
from radar_pose_ros.nodes.base import ManagedNode, run_together


def node_class(executable: str) -> Callable[..., ManagedNode]:
    """Return the class of a node by the name of its program; `ValueError` if there is none."""
    if not Path(__file__).with_name(f"{executable}.py").is_file():
        raise ValueError(f"want the name of a node, got {executable!r}")
    module = import_module(f"radar_pose_ros.nodes.{executable}")
    for found in vars(module).values():
        of_module = isinstance(found, type) and found.__module__ == module.__name__
        if of_module and issubclass(found, ManagedNode):
            return found
    raise ValueError(f"{executable} is no node")


def makers(words: Sequence[str]) -> tuple[list[str], list[Callable[[], ManagedNode]]]:
    """Return the words for the process, and what makes each node; `ValueError` if no node is."""
    groups = [list(group) for end, group in groupby(words, lambda word: word == "--") if not end]
    nodes = [group for group in groups if not group[0].startswith("-")]
    process = [word for group in groups if group[0].startswith("-") for word in group]
    if not nodes:
        raise ValueError("want -- and the name of a node, got none")
    return process, [
        partial(node_class(name), cli_args=arguments, use_global_arguments=False)
        for name, *arguments in nodes
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the nodes."""
    try:
        process, made = makers(sys.argv[1:] if arguments is None else arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return run_together(made, process)


if __name__ == "__main__":
    sys.exit(main())
