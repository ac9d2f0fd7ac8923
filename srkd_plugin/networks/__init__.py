"""Networks beside BasicSR's: the frozen teacher, weights files, precision, and how the student starts."""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
