"""From an image to a pose in a map."""
