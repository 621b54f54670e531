"""ROS 2 nodes: parameters, topics, time stamps, diagnostics. No mathematics."""
