"""People, radar echoes and capture boards that are not there. No ROS."""
