"""Running a system: two workers, queues of one, stage times. No ROS."""
