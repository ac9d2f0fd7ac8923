#!/usr/bin/env python
"""The same as ``srkd teacher convert``, under the name that it had before."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["teacher", "convert", *sys.argv[1:]]))
