"""Kernels with a readable reference beside each fast form. No ROS."""
