"""``python -m srkd_plugin.test``: the same as ``srkd test``."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
