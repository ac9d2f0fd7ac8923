"""Repairs that act where stock BasicSR can do nothing but raise."""

import random
import sys
from types import ModuleType

import pytest
from basicsr.utils import logger


class Wandb(ModuleType):
    """A stand-in for wandb: what BasicSR calls of it."""

    def __init__(self, has_generate_id):
        super().__init__("wandb")
        self.util, self.started = ModuleType("wandb.util"), {}
        if has_generate_id:
            self.util.generate_id = lambda: "its own"

    def init(self, **arguments):
        self.started = arguments


@pytest.mark.parametrize("has_generate_id", [True, False])
def test_wandb_without_generate_id_gets_an_id(monkeypatch, has_generate_id):
    wandb = Wandb(has_generate_id)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "wandb.util", wandb.util)
    before = random.getstate()
    logger.init_wandb_logger({"name": "x", "logger": {"wandb": {"project": "p"}}})
    assert random.getstate() == before
    assert (wandb.started["id"] == "its own") == has_generate_id
    assert len(wandb.started["id"]) >= 7 and wandb.started["project"] == "p"


def test_without_wandb_the_error_is_stocks(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match="wandb"):
        logger.init_wandb_logger({"name": "x", "logger": {"wandb": {"project": "p"}}})
