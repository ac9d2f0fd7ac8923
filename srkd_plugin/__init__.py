"""Knowledge distillation for super-resolution, as a plugin for BasicSR.

This file is imported by every process that imports torch (see :mod:`srkd_plugin._autoload`): it must stay free of
imports. ``import srkd_plugin.registration`` is what makes BasicSR know the plugin where the automatic way is off.
"""

__version__ = "0.1.0"
