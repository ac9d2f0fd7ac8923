"""The BasicSR model that distils a teacher on images which it degrades itself, as Real-ESRGAN does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from srkd_plugin.distill.distill_model import DistillModel
from srkd_plugin.distill.pair_pool import packed, unpack_into
from srkd_plugin.options import reader
from srkd_plugin.parallel import ranks

POOLS = "pair_pools"
"""Key of a training state: the training pair pool of each rank."""

try:
    from basicsr.models.realesrnet_model import RealESRNetModel
except ImportError:  # forks carry a part of BasicSR: they lack this model, and all else works
    pass
else:

    class _TrainingPairs(RealESRNetModel):
        """RealESRNetModel in training. It would sharpen each validation image's GT, too, which no model of ours reads.

        That takes 5 s per megapixel on a CPU core, and fails on images of less than 26 pixels.
        """

        def feed_data(self, data: Mapping[str, Any]) -> None:
            if self.is_train:
                super().feed_data(data)
            else:
                SRModel.feed_data(self, data)

    @MODEL_REGISTRY.register()
    class RealESRDistillModel(DistillModel, _TrainingPairs):
        """:class:`DistillModel` on RealESRNetModel's batches: LQ is made of GT and the data set's blur kernels.

        RealESRNetModel makes ``lq`` and ``gt`` (``feed_data``, with its training pair pool); with ``gt_usm`` that is
        sharpened, for all losses. Validation is SRModel's, on images that are not degraded; all else is DistillModel's.
        LQ images are new in every iteration, so the teacher runs.

        Raises:
            OptionsError: The options ask for something that cannot be; with BasicSR's trainer this was found before.
        """

        def feed_data(self, data: Mapping[str, Any]) -> None:
            """Degrade a batch and draw from the pool; take a validation image as it is."""
            if self.is_train:  # here the iteration of a resumed run draws first
                self._restore_random_state()
            super().feed_data(data)
            if self.is_train:
                self._files = {"gt_path": "those in the training pair pool"}

        def _own_state(self) -> dict[str, Any]:
            pools = {POOLS: ranks.gather_objects(packed(self))} if reader.exact_data(self.opt) else {}
            return {**super()._own_state(), **pools}

        def _load_own_state(self, state: Mapping[str, Any]) -> None:
            super()._load_own_state(state)
            pools = state.get(POOLS) or []
            train_set = self.opt["datasets"]["train"]
            gpus = 1 if self.opt["dist"] else max(self.opt["num_gpu"], 1)
            batch = train_set["batch_size_per_gpu"] * gpus
            if not pools:
                problem = "the state has none: that of a run with datasets.train.exact_resume: true has"
            elif len(pools) != self.opt["world_size"]:
                problem = f"the state has those of {len(pools)} ranks, and there are {self.opt['world_size']} now"
            else:
                pool = pools[self.opt["rank"]]
                found = unpack_into(self, pool, batch, self.opt["gt_size"], self.opt["scale"])
                if found is None:
                    return
                problem = found
            get_root_logger().warning(f"The training pair pool is filled anew: {problem}.")
