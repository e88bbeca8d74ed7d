"""`python -m obverse`."""

import sys

from obverse.cli import main

sys.exit(main())
