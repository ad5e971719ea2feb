"""``python -m molvae``."""

import os
import sys

# Python puts the current folder first: a random.py or pandas.py of the user's would run in place of the real one.
if not sys.flags.safe_path and os.path.isdir(sys.path[0]) and os.path.samefile(sys.path[0], os.curdir):
    del sys.path[0]
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.samefile(home, os.curdir):  # a clone that is not installed: workers find molvae there, last
        sys.path.append(home)

from molvae.cli import main

main()
