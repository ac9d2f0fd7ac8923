"""The teacher cache: making, storing, checking, measuring and repairing it, and the data set that reads it.

A file ``*_dataset.py`` here is found and registered by itself (:mod:`srkd_plugin.registration`).
"""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
