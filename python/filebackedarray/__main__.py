"""``python -m filebackedarray``."""

import sys

from ._shell import main

sys.exit(main())
