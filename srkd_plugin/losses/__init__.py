"""Distillation losses: tensors in, a scalar out. They know nothing of models.

A file ``*_loss.py`` here is found and registered by itself (:mod:`srkd_plugin.registration`).
"""

from srkd_plugin._autoload import import_basicsr

import_basicsr()

from srkd_plugin.losses.affinity_loss import SpatialAffinityLoss, spatial_affinity_loss  # noqa: E402
from srkd_plugin.losses.confidence_loss import ConfidenceL1Loss, confidence_l1_loss  # noqa: E402
from srkd_plugin.losses.contrastive_loss import ContrastiveLoss, contrastive_loss  # noqa: E402
from srkd_plugin.losses.feature_loss import (  # noqa: E402
    FeatureLoss,
    LocalSelectiveFeatureLoss,
    feature_loss,
    local_selective_feature_loss,
)
from srkd_plugin.losses.vgg_contrastive_loss import VGGContrastiveLoss, vgg_contrastive_loss  # noqa: E402

__all__ = [
    "ConfidenceL1Loss",
    "ContrastiveLoss",
    "FeatureLoss",
    "LocalSelectiveFeatureLoss",
    "SpatialAffinityLoss",
    "VGGContrastiveLoss",
    "confidence_l1_loss",
    "contrastive_loss",
    "feature_loss",
    "local_selective_feature_loss",
    "spatial_affinity_loss",
    "vgg_contrastive_loss",
]
