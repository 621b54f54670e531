"""One file per network, with its configuration and presets. No ROS."""
