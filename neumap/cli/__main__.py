"""``python -m neumap.cli`` is ``neumap``."""

import sys

from neumap.cli.main import main

sys.exit(main())
