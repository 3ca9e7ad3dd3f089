"""``python -m advlab`` is the same program as ``advlab``."""

import sys

from advlab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
