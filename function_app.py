"""The entry of the v2 programming model: it binds the app under one name and holds nothing else."""

from functions.app import app

__all__ = ["app"]
