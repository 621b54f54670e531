"""Own data: recordings of two radars and a camera, made into a data set for training. No ROS."""
