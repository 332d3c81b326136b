"""What the person who starts the server decides; read from the environment once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rnp_core import default_home

MODELS_VARIABLE = "RNP_MODELS"
"""Folder on the server whose checkpoints and images may be picked in the browser."""

TOKEN_VARIABLE = "RNP_TOKEN"
"""Token that programs must send as ``Authorization: Bearer TOKEN``."""

HOST_VARIABLE = "RNP_HOST"
"""Address that the server listens on, as far as the dashboard has to know."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Attributes:
        home: folder of the jobs and uploads.
        models: folder that may be browsed, or None.
        token: of the REST route; empty for none, which is allowed on localhost only.
        host: address that the server listens on.
        scheduler: address of a Dask scheduler; "direct" runs one scan at a time in a child of the
            server.
    """

    home: Path
    models: Path | None
    token: str
    host: str
    scheduler: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOCAL_HOSTS

    @property
    def uploads(self) -> Path:
        """Folder of uploaded files, by digest."""
        return self.home / "uploads"


def read_settings() -> Settings:
    """Settings from the environment variables that ``python -m dashboard`` sets."""
    models = os.environ.get(MODELS_VARIABLE)
    return Settings(
        home=default_home(),
        models=Path(models).expanduser().resolve() if models else None,
        token=os.environ.get(TOKEN_VARIABLE, ""),
        host=os.environ.get(HOST_VARIABLE, "localhost"),
        scheduler=os.environ.get("RNP_SCHEDULER") or "direct",
    )
