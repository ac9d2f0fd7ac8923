"""A run that can end, be killed and go on: checkpoints, states, signals, validation and the training data."""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
