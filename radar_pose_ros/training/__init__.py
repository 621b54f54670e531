"""One training loop for all models. No ROS."""
