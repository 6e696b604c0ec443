"""Thin shells around the library: images, transforms, messages and parameters of ROS 2."""
