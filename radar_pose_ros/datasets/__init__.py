"""Readers of recordings, one file per data set. No ROS."""
