"""The distillation step: the BasicSR model, its terms, its taps, and where the teacher's images come from."""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
