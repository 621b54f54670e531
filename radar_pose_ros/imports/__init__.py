"""Other people's recordings as bags, one module for each format; needs no ROS."""
