"""Images of one instant, and where the cameras were then. No ROS, no threads of its own."""
