"""``python -m neumap_ros.cli`` is ``neumap``."""

import sys

from neumap_ros.cli.main import main

sys.exit(main())
