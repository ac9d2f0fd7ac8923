#!/usr/bin/env python
"""Runs soak/soak.py, where it is now."""

import os
import sys
from pathlib import Path

COMMAND = Path(__file__).resolve().parent.parent / "soak/soak.py"
os.execv(sys.executable, [sys.executable, str(COMMAND), *sys.argv[1:]])
