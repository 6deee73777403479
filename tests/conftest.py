"""What holds for all tests: a child process, too, imports the vitc that is installed, and not the
folder ./vitc it may be started beside, which has no extension unless it was built in place."""

import os

os.environ["PYTHONSAFEPATH"] = "1"
