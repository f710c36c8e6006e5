"""`spar view`: a home in a browser."""

import os
import secrets
from pathlib import Path

import click

from flows.commands.options import home_option, opened

_TOKEN_VARIABLE = "SPAR_VIEW_TOKEN"


@click.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: the same every time]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but loopback asks for a token."
)
def view(home: Path | None, port: int | None, host: str) -> int:
    """Look into this home in a browser: runs, trees, prompts, pairs, drops, scores, models. Ctrl-C ends it.

    It reads only, and goes on showing what a running `spar run` adds. On an address that other machines can reach,
    it asks for a token: that of the environment variable SPAR_VIEW_TOKEN, else one made now and printed.

    \b
    Example:
      spar view
      spar view --host 0.0.0.0 --port 8765
    """
    import uvicorn

    from flows.view.app import LOOPBACK, make_app
    from spar_core.errors import ConfigError
    from spar_core.ports import port_is_free
    from storage.addresses import port_to_listen_on

    where = opened(home)
    if not where.root.is_dir():
        raise ConfigError(f"there is no home {where.root}; name one with --home, or start a run, which makes it")
    token = None if host in LOOPBACK else os.environ.get(_TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    if port is not None and not port_is_free(port):
        raise ConfigError(f"port {port} is taken; give another one with --port, or none for one that is free")
    number = port or port_to_listen_on(where, "view")
    app = make_app(where, token)
    shown = f"http://{f'[{host}]' if ':' in host else host}:{number}/"
    click.echo(f"{shown}{f'?token={token}' if token else ''}\nCtrl-C ends it.")
    uvicorn.run(app, host=host, port=number, log_level="warning", access_log=False)
    return 0
