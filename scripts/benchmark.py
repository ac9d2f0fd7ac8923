#!/usr/bin/env python
"""Runs benchmarks/steps.py, where it is now."""

import os
import sys
from pathlib import Path

COMMAND = Path(__file__).resolve().parent.parent / "benchmarks/steps.py"
os.execv(sys.executable, [sys.executable, str(COMMAND), *sys.argv[1:]])
