"""``clearmargin serve``: a trained model behind HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from clearmargin.console import say
from clearmargin.errors import MissingExtraError
from clearmargin.evaluate_command import plain_text

NEEDED = ("fastapi", "uvicorn", "python_multipart")


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)],
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. Beyond this machine it needs a token.")
    ] = "127.0.0.1",
    contender: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model of the run; the best on validation by default.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Holds the token that every request must know; or set CLEARMARGIN_TOKEN instead."
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A further name to be called by, as of a proxy. Repeatable."),
    ] = None,
    deadline: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=600, help="That a request may take once it was read.")
    ] = 30.0,
) -> None:
    """Serve a model of a finished run. A page to drop images on, and an interface for programs.

    On this machine alone, unless --host says otherwise. Nothing is written to the disk.
    """
    if any(find_spec(name) is None for name in NEEDED):
        raise MissingExtraError("Serving a model", "serve")
    from clearmargin.serving.access import access_to, read_token

    access = access_to(host, read_token(token_file, os.environ), tuple(allowed_hosts or ()))
    from clearmargin.runs import open_run
    from clearmargin.serving.limits import Limits
    from clearmargin.serving.model import ServedModel
    from clearmargin.serving.server import bound_socket, run_server
    from clearmargin.serving.service import Service

    opened = open_run(run)
    listening = bound_socket(host, port)
    with listening:
        service = Service(ServedModel(opened, contender), access, Limits(seconds=deadline))
        if opened.evaluation.get("leaky"):
            say("Careful: the split of this run leaks: on new patients, expect less than its figures promise.")
        if access.token is not None and host not in ("127.0.0.1", "::1", "localhost"):
            say("The token and the images travel unencrypted: put a proxy with TLS before this server.")
        address = f"{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"

        def announce() -> None:
            typer.echo(f"Serving '{plain_text(service.model.contender.name)}' on http://{address}/")
            say("Research use only, not a medical device. Ctrl-C ends it.")

        run_server(service, listening, announce)
