"""Measures of agreement between estimated and true poses. No ROS."""
