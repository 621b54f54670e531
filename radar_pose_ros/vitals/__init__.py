"""From colours of skin to the pulse, its rate and the breath. No ROS, no torch."""
