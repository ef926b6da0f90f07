"""Stands for sensor_msgs_py, which no wheel has."""
