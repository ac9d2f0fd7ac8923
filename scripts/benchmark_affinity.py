#!/usr/bin/env python
"""Runs benchmarks/affinity.py, where it is now."""

import os
import sys
from pathlib import Path

COMMAND = Path(__file__).resolve().parent.parent / "benchmarks/affinity.py"
os.execv(sys.executable, [sys.executable, str(COMMAND), *sys.argv[1:]])
