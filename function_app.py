"""The entry of the v2 programming model: it binds the app under one name and holds nothing else."""

from functions.process import app

__all__ = ["app"]
