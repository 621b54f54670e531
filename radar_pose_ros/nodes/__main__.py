"""Runs one node: ``python -m radar_pose_ros.nodes NODE --ros-args ...``, for the command line."""

import sys
from importlib import import_module
from pathlib import Path

from radar_pose_ros.leaving import die_when_asked, run_and_leave

die_when_asked()

node = sys.argv.pop(1) if len(sys.argv) > 1 else ""
if not Path(__file__).with_name(f"{node}.py").is_file():
    print(f"error: want the name of a node, got {node!r}", file=sys.stderr)
    sys.exit(2)
run_and_leave(import_module(f"radar_pose_ros.nodes.{node}").main)
