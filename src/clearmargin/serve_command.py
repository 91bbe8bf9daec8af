"""``clearmargin serve``: a trained model behind HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from clearmargin.console import say
from clearmargin.cores import share_cores
from clearmargin.errors import MissingExtraError
from clearmargin.evaluate_command import plain_text

NEEDED = ("fastapi", "uvicorn")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # and how this machine calls itself


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
    show_names: Annotated[
        bool, typer.Option("--show-names", help="Name the training images that are shown; names may be patients'.")
    ] = False,
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
    share_cores()
    from clearmargin.runs import open_run
    from clearmargin.serving.limits import Limits
    from clearmargin.serving.listening import bound_socket
    from clearmargin.serving.model import ServedModel
    from clearmargin.serving.service import Service
    from clearmargin.training.memory import reuse_freed_memory

    opened = open_run(run)
    listening = bound_socket(host, port)
    with listening:
        model = ServedModel(opened, contender)
        service = Service(model, access, Limits(seconds=deadline), show_names=show_names)
        reuse_freed_memory(one_arena=True)
        service.start()
        from clearmargin.serving.server import run_server  # FastAPI is imported while the model gets ready

        if opened.evaluation.get("leaky"):
            say("Careful: the split of this run leaks: on new patients, expect less than its figures promise.")
        if access.token is not None and not access.local:
            say("The token and the images travel unencrypted: put a proxy with TLS before this server.")

        def announce() -> None:
            port = listening.getsockname()[1]
            typer.echo(f"Serving '{plain_text(model.contender.name)}' on {_address(EVERYWHERE.get(host, host), port)}")
            if not access.local:
                say(f"Other machines reach it {_elsewhere(host, port, allowed_hosts or [])}.")
            say("Research use only, not a medical device. Ctrl-C ends it.")

        run_server(service, listening, announce)


def _address(name: str, port: int) -> str:
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def _elsewhere(host: str, port: int, names: list[str]) -> str:
    """How others call the server, in words."""
    ways = [f"by an address of this machine, on port {port}"] if host in EVERYWHERE else []
    ways += [f"as {plain_text(name)}" for name in names]
    return ", or ".join(ways) if ways else f"on {_address(host, port)}"
