"""``python -m srkd_plugin``: says whether BasicSR finds the plugin by itself, and what to do where it does not."""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import ModuleType

from srkd_plugin import __version__, _autoload


def main() -> int:
    """Print the state of the installation; 0 if BasicSR knows the plugin."""
    import torch  # calls the autoload, where it is able to

    by_itself = any(getattr(finder, "is_srkd_finder", False) for finder in sys.meta_path)
    from srkd_plugin import registration

    print(f"srkd-plugin {__version__}, BasicSR {version('basicsr')}, torch {torch.__version__}")
    print(f"registered in BasicSR: {', '.join(registration.names())}")
    if by_itself:
        print("BasicSR finds the plugin by itself: python basicsr/train.py -opt ...")
        return 0
    print(f"BasicSR does not find the plugin by itself: {_why_not(torch)}")
    print("Use: python -m srkd_plugin.train -opt ...  (or import srkd_plugin.registration in your own script)")
    return 1


def _why_not(torch: ModuleType) -> str:
    if not hasattr(torch, "_import_device_backends"):
        return f"torch {torch.__version__} has no autoload (it came with 2.5)."
    return f"{_autoload.OFF_SWITCH} or TORCH_DEVICE_BACKEND_AUTOLOAD is set to 0, or the plugin is not installed."


if __name__ == "__main__":
    sys.exit(main())
