"""``python -m srkd_plugin.train``: the same as ``srkd train``."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
