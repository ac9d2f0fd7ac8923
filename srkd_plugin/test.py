"""``python -m srkd_plugin.test``: BasicSR's tester with the working directory as its root.

For those who have BasicSR from pip only, whose own ``python -m basicsr.test`` would write into site-packages.
Takes BasicSR's flags: ``-opt FILE [--launcher none|pytorch|slurm] [--auto_resume] [--debug] [--force_yml K:K=V ...]``.
"""

from __future__ import annotations

import os

from srkd_plugin import registration  # noqa: F401  (first: it lets BasicSR be imported, and registers the plugin)


def main() -> None:
    """Test as BasicSR does; everything is written below the working directory."""
    from basicsr.test import test_pipeline

    test_pipeline(os.getcwd())


if __name__ == "__main__":
    main()
