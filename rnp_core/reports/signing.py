"""Signatures of a manifest, made and checked by minisign, which has to be installed.

Keys stay with minisign: this module passes paths on and never reads a key or a password.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from rnp_core.errors import ReportError
from rnp_core.manifest import MANIFEST_NAME, SIGNATURE_NAME

_SECONDS = 120.0


def is_available() -> bool:
    """Whether minisign is installed."""
    return shutil.which("minisign") is not None


def sign_manifest(folder: Path, *, key: Path) -> Path:
    """Sign the manifest of a run folder; minisign may ask for the key's password.

    Args:
        key: minisign's secret key file.

    Returns:
        The signature, ``manifest.json.minisig`` in ``folder``.

    Raises:
        ReportError: when minisign is not installed or refuses.
    """
    signature = folder / SIGNATURE_NAME
    _minisign(
        "-S", "-s", str(key), "-m", str(folder / MANIFEST_NAME), "-x", str(signature), ask=True
    )
    return signature


def check_signature(folder: Path, *, public_key: Path) -> None:
    """Check the signature of a manifest.

    Args:
        public_key: minisign's public key file of the signer.

    Raises:
        ReportError: when there is no signature, it does not fit the manifest and the key, or
            minisign is not installed.
    """
    signature = folder / SIGNATURE_NAME
    if not signature.is_file():
        raise ReportError(f"expected a signature at {signature}, found none")
    _minisign(
        "-V", "-q", "-p", str(public_key), "-m", str(folder / MANIFEST_NAME), "-x", str(signature)
    )


def _minisign(*arguments: str, ask: bool = False) -> None:
    program = shutil.which("minisign")
    if program is None:
        raise ReportError(
            "signatures need the program minisign, which is not installed; see "
            "https://jedisct1.github.io/minisign"
        )
    try:
        done = subprocess.run(
            [program, *arguments],
            stdout=subprocess.PIPE,
            stderr=None if ask else subprocess.PIPE,  # minisign asks for the password there
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReportError(f"minisign did not answer within {_SECONDS:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout or "").strip().splitlines()
        raise ReportError(f"minisign refused: {said[-1] if said else done.returncode}")
