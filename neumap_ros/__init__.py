"""neumap_ros: camera localization in a neural map. See README.md."""

# The ROS 2 build installs generated message modules under the same package name, next to this
# file's copy; extending the path lets Python see both.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
