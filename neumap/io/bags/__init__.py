"""rosbag2 recordings, through the rosbags library."""
