"""``python -m srkd_plugin.train``: BasicSR's trainer with the working directory as its root.

For those who have BasicSR from pip only, whose own ``python -m basicsr.train`` would write into site-packages.
Takes BasicSR's flags: ``-opt FILE [--launcher none|pytorch|slurm] [--auto_resume] [--debug] [--force_yml K:K=V ...]``.
"""

from __future__ import annotations

import os

from srkd_plugin import registration  # noqa: F401  (first: it lets BasicSR be imported, and registers the plugin)


def main() -> None:
    """Train as BasicSR does; everything is written below the working directory."""
    from basicsr.train import train_pipeline

    train_pipeline(os.getcwd())


if __name__ == "__main__":
    main()
