"""`python -m vitc` is `vitc`."""

import sys

from vitc.cli import main

if __name__ == "__main__":
    sys.exit(main())
