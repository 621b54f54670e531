"""``radar-pose train mixste``: the network that DiffHPE is compared with and conditioned on.

It is trained and measured as DiffHPE is, on the same windows: see `diffhpe`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from radar_pose_ros.training import diffhpe
from radar_pose_ros.training.diffhpe import add_evaluate_arguments, train

__all__ = ["add_evaluate_arguments", "add_train_arguments", "evaluate", "train"]


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train mixste``: those of DiffHPE, but its defaults."""
    diffhpe.add_train_arguments(parser)
    parser.set_defaults(preset="mixste", out=Path("out/mixste"))


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate mixste``; see `diffhpe.evaluate`."""
    return diffhpe.evaluate(arguments, "mixste")
