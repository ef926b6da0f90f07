"""sensor_msgs_py: of it, point_cloud2."""
