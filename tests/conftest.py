"""What holds for all tests. A child process, too, imports the vitc that is installed, and not the
folder ./vitc it may be started beside, which has no extension unless it was built in place."""

import os

os.environ["PYTHONSAFEPATH"] = "1"

# Whoever loads the OpenMP runtime first, here torch, settles how long waiting threads spin.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
