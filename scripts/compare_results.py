#!/usr/bin/env python
"""The same as ``srkd compare``, under the name that it had before."""

import sys

from srkd_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
