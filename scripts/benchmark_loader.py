#!/usr/bin/env python
"""Runs benchmarks/loader.py, where it is now."""

import os
import sys
from pathlib import Path

COMMAND = Path(__file__).resolve().parent.parent / "benchmarks/loader.py"
os.execv(sys.executable, [sys.executable, str(COMMAND), *sys.argv[1:]])
