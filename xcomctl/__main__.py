"""``python -m xcomctl`` is ``xcomctl``."""

import sys

from xcomctl.cli import main

if __name__ == "__main__":
    sys.exit(main())
