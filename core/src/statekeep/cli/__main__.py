"""`python -m statekeep.cli` is `statekeep`."""

import sys

from statekeep.cli import main

sys.exit(main())
