"""Checks of a run before BasicSR writes anything, and the description of what it would be."""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
