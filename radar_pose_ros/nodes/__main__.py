"""Runs one node: ``python -m radar_pose_ros.nodes NODE --ros-args ...``, for the command line."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

# Importing takes seconds: who is asked to end meanwhile has nothing to say goodbye to.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(0))

node = sys.argv.pop(1) if len(sys.argv) > 1 else ""
if not Path(__file__).with_name(f"{node}.py").is_file():
    print(f"error: want the name of a node, got {node!r}", file=sys.stderr)
    sys.exit(2)
sys.exit(import_module(f"radar_pose_ros.nodes.{node}").main())
