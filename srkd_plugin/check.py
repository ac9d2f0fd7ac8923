"""``python -m srkd_plugin.check``: the same as ``srkd check``."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
