"""The ROS 2 node. The only place that imports rclpy and its kin."""
