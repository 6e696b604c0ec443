"""Bags without ROS: read, write, play and look into them (rosbags; no rclpy)."""
