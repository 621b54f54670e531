"""Calibrated cameras, and where in space they see something together. No ROS, no torch."""
