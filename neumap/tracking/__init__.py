"""The running localizer: accepts or refuses poses of a stream of images."""
