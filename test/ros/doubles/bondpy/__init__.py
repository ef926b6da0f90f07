"""A double of ROS' bondpy, which no wheel has."""
