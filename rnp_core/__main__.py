"""``python -m rnp_core``."""

import sys

from rnp_core.cli import main

sys.exit(main())
