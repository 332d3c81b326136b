"""Network definitions, and finding the one that fits the tensors of a checkpoint."""

from rnp_core.architectures.external import load_callable
from rnp_core.architectures.mismatch import MisfitError, Mismatch
from rnp_core.architectures.recognise import Recognised, Variant, recognise, strip_prefixes
from rnp_core.architectures.registry import build, list_architectures

__all__ = [
    "MisfitError",
    "Mismatch",
    "Recognised",
    "Variant",
    "build",
    "list_architectures",
    "load_callable",
    "recognise",
    "strip_prefixes",
]
