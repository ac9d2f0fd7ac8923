"""The models that BasicSR's trainer runs, and what they are made of.

A file ``*_model.py`` here is found and registered by itself (:mod:`srkd_plugin.registration`).
"""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
