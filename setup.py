"""Installation of srkd-plugin, for tools that ask for this file. Everything is in pyproject.toml."""

from setuptools import setup

setup()
