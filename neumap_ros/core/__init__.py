"""Everything numeric: arrays and tensors in, arrays and tensors out. No files but the map file, no ROS."""
