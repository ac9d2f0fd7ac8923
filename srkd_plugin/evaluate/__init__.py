"""Measuring networks and images: PSNR against published figures, and of several systems side by side."""

from srkd_plugin._autoload import import_basicsr

import_basicsr()
