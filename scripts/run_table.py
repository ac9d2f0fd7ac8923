#!/usr/bin/env python
"""The same as ``srkd table``, under the name that it had before."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["table", *sys.argv[1:]]))
