"""Joint names, bones, and mappings between skeletons. No ROS."""
