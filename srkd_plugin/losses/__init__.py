"""Distillation losses: tensors in, a scalar out. They know nothing of models.

A file ``*_loss.py`` here is found and registered by itself (:mod:`srkd_plugin.registration`).
"""

from srkd_plugin._autoload import import_basicsr

import_basicsr()

from srkd_plugin.losses.contrastive_loss import ContrastiveLoss, contrastive_loss  # noqa: E402

__all__ = ["ContrastiveLoss", "contrastive_loss"]
