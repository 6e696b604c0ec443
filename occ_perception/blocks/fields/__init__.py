"""Fields: functions of 3D points that are conditioned on an image."""
