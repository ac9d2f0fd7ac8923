"""``python -m srkd_plugin``: the same as the command ``srkd``, which is not on the path everywhere."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
