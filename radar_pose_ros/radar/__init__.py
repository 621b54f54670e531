"""FMCW radar: chirp arithmetic, configuration, wire formats, transforms. No ROS."""
