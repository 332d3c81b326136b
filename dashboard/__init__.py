"""The web dashboard on ``rnp_core``. Start it with ``python -m dashboard``."""
