"""``python -m dashboard``: start the dashboard from any folder."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from dashboard.settings import HOST_VARIABLE, LOCAL_HOSTS, MODELS_VARIABLE, TOKEN_VARIABLE


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.home:
        os.environ["RNP_HOME"] = str(options.home.expanduser().absolute())
    if options.models:
        folder = options.models.expanduser().resolve()
        if not folder.is_dir():
            print(f"dashboard: expected a folder at {folder}", file=sys.stderr)
            return 2
        os.environ[MODELS_VARIABLE] = str(folder)
    os.environ[HOST_VARIABLE] = options.host
    if options.host not in LOCAL_HOSTS and not os.environ.get(TOKEN_VARIABLE):
        os.environ[TOKEN_VARIABLE] = secrets.token_urlsafe(24)
        print(f"dashboard: token of the REST route: {os.environ[TOKEN_VARIABLE]}", file=sys.stderr)
    if options.host not in LOCAL_HOSTS:
        print(
            "dashboard: the pages are open to everyone who reaches this address, unless a sign-in "
            "is set up (docs/dashboard.md)",
            file=sys.stderr,
        )
    _serve(options)
    return 0


def _serve(options: argparse.Namespace) -> None:
    from dashboard.server import make_app

    sys.argv = [str(Path(__file__).resolve())]  # Streamlit reads .streamlit beside this file
    app = make_app()
    if options.browser:
        threading.Thread(target=_open_browser, args=(options.port,), daemon=True).start()
    hosts = [*LOCAL_HOSTS, "[::1]", *(options.allow_host or [])]
    if options.host not in LOCAL_HOSTS and options.host not in ("0.0.0.0", "::"):
        hosts.append(options.host)
    app.run(
        config={
            "server.address": options.host,
            "server.port": options.port,
            "server.maxUploadSize": options.max_upload,
            "server.allowedHosts": hosts,
            "server.headless": True,  # otherwise Streamlit asks questions of its own
        }
    )


def _open_browser(port: int) -> None:
    """Open the dashboard in a browser as soon as it answers; gives up after a minute."""
    for _ in range(240):
        try:
            with socket.create_connection(("localhost", port), timeout=1):
                break
        except OSError:
            time.sleep(0.25)
    else:
        return
    webbrowser.open(f"http://localhost:{port}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dashboard", description="The web dashboard of the backdoor scanner."
    )
    parser.add_argument("--port", type=int, default=8501, help="default: 8501")
    parser.add_argument("--host", default="localhost",
                        help="address to listen on (default: localhost, this machine only)")
    parser.add_argument("--allow-host", action="append", metavar="NAME",
                        help="host name that browsers may use; repeat for more")
    parser.add_argument("--home", type=Path, help="folder of the scans (default: $RNP_HOME)")
    parser.add_argument("--models", type=Path, metavar="FOLDER",
                        help="folder on this machine whose files may be picked in the browser")
    parser.add_argument("--max-upload", type=int, default=1024, metavar="MB",
                        help="largest upload (default: 1024)")
    parser.add_argument("--browser", action="store_true", help="open a browser")
    return parser


if __name__ == "__main__":
    sys.exit(main())
