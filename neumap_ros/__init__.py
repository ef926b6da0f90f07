"""ROS 2 node for camera localization in a neural map. See README.md."""

# The ROS 2 build installs the generated message modules under the same package name; extending the path makes both
# importable.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
