"""``python -m srkd_plugin.check``: the same as ``srkd check``."""

import sys

from srkd_plugin.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
