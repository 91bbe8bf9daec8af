"""``clearmargin export``: a model of a finished run as a file that others can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmargin.console import ConsoleProgress, print_json, visible
from clearmargin.errors import UsageError
from clearmargin.exporting.places import SUFFIXES, check_place

if TYPE_CHECKING:
    from clearmargin.exporting.web_runtime import WebRuntime
    from clearmargin.records import Progress
    from clearmargin.runs import Run
    from clearmargin.trained import TrainedContender


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)],
    kind: Annotated[str, typer.Option("--format", metavar="onnx|torch|html", help="What to write.")],
    contender: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model of the run; the best on validation by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File to write; RUN/exported/NAME by default.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="What the run was trained with: to compare on, and for --int8."),
    ] = None,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="onnx: resizing and normalising inside the graph too.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="onnx: quantised, with what that costs and gains on the validation part.")
    ] = False,
    runtime: Annotated[
        Path | None, typer.Option(metavar="TGZ", help="html: onnxruntime-web, as `npm pack` fetches it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Write a model of a finished run as a file. It is run and compared with the original before it counts."""
    from clearmargin.runs import open_run

    _check_options(kind, data, with_preprocessing, int8)
    shell = _web_runtime(kind, runtime)
    opened = open_run(run)
    chosen = opened.contender(contender)
    path = out or opened.folder / "exported" / f"{chosen.folder.name}{'.int8' if int8 else ''}{SUFFIXES[kind]}"
    _check_source(chosen, path)
    check_place(path, opened.folder, kind, int8=int8)
    with ConsoleProgress() as progress:
        if kind == "onnx":
            said = _onnx(opened, chosen, path, data, with_preprocessing, int8, progress)
        elif shell is None:
            said = _torch(opened, chosen, path, data, progress)
        else:
            said = _html(opened, chosen, path, data, shell, progress)
    if as_json:
        print_json(said)
    else:
        typer.echo(visible("\n".join(said["notes"])))


def _check_options(kind: str, data: str | None, with_preprocessing: bool, int8: bool) -> None:
    """Refuse what does not go together, before anything is opened."""
    if kind not in SUFFIXES:
        raise UsageError(f"--format must be one of {', '.join(SUFFIXES)}, got {kind!r}.")
    if kind != "onnx" and (with_preprocessing or int8):
        raise UsageError("--with-preprocessing and --int8 are for --format onnx.")
    if with_preprocessing and int8:
        raise UsageError("--int8 quantises the network alone: leave --with-preprocessing out.")
    if int8 and data is None:
        raise UsageError(
            "--int8 takes images of the training part to find the ranges of values, and compares both files on the "
            "validation part: say with --data PATH what the run was trained with."
        )


def _web_runtime(kind: str, runtime: Path | None) -> WebRuntime | None:
    """What a page needs besides the network; None for the other formats."""
    if kind != "html":
        if runtime is not None:
            raise UsageError("--runtime is for --format html.")
        return None
    from clearmargin.exporting.web_runtime import read_web_runtime

    return read_web_runtime(runtime)


def _check_source(chosen: TrainedContender, path: Path) -> None:
    from clearmargin.files import check_output_file
    from clearmargin.published import PublishedContender

    if isinstance(chosen, PublishedContender):
        raise UsageError(
            f"'{chosen.name}' was trained elsewhere and is an ONNX file already, "
            f"{chosen.folder / 'model.onnx'}: choose another contender with --contender."
        )
    check_output_file(path, f"{chosen.folder.name}{path.suffix}", chosen.folder / "model.safetensors", "model")


def _onnx(
    run: Run,
    chosen: TrainedContender,
    path: Path,
    data: str | None,
    with_preprocessing: bool,
    int8: bool,
    progress: Progress,
) -> dict[str, Any]:
    from clearmargin.exporting.onnx_file import make_onnx, write_onnx
    from clearmargin.exporting.samples import open_run_data

    own = None if data is None else open_run_data(run, chosen, data, progress)
    progress("Exporting", 0, 0, "")
    made = make_onnx(run, chosen, path, own, with_preprocessing=with_preprocessing)
    if int8 and own is not None:
        from clearmargin.exporting.quantised import write_quantised

        return write_quantised(run, made, path, own, progress)
    return write_onnx(made)


def _torch(run: Run, chosen: TrainedContender, path: Path, data: str | None, progress: Progress) -> dict[str, Any]:
    from clearmargin.exporting.samples import open_run_data
    from clearmargin.exporting.torch_file import export_torch

    own = None if data is None else open_run_data(run, chosen, data, progress)
    return export_torch(run, chosen, path, own)


def _html(
    run: Run, chosen: TrainedContender, path: Path, data: str | None, shell: WebRuntime, progress: Progress
) -> dict[str, Any]:
    from clearmargin.exporting.page import export_page
    from clearmargin.exporting.samples import open_run_data

    own = None if data is None else open_run_data(run, chosen, data, progress)
    progress("Exporting", 0, 0, "")
    return export_page(run, chosen, path, own, shell)
