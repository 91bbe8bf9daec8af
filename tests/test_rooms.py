"""The architecture: a room imports only from the rooms before it, and nobody imports a door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clearmargin

PACKAGE = Path(clearmargin.__file__).parent
# A room is a module or a package right under clearmargin; those on one line are one room.
ROOMS = (
    ("errors",),
    ("interruption",),
    ("telemetry",),
    ("language",),
    ("records",),
    ("files", "atomic_folder", "unfinished", "locks", "cache", "cores", "weight_places"),
    ("downloads", "transfer"),
    (
        *("recipe", "recipe_layers", "recipe_mistakes", "recipe_conflicts", "recipe_overrides"),
        *("recipe_evaluation", "recipe_foreign", "recipe_spaces", "recipe_window"),
    ),
    ("dicom",),
    ("sources",),
    ("appearance", "lettering", "pillow", "jpeg", "plain_jpeg", "miniature", "framing"),
    (
        *("decoding", "chunk_decoding", "chunk_decoder", "chunk_processes"),
        *("mapped_rows", "pixel_store", "pixel_decoding", "pixels", "columns"),
    ),
    ("allotment", "fold_allotment"),
    ("audit",),
    ("split",),
    ("models",),
    ("training",),
    ("features",),
    ("evaluation",),
    ("foreign",),
    ("preparation",),
    ("leakage",),
    ("description",),
    ("task",),
    ("deciding",),
    ("diverged", "done"),
    ("contest",),
    ("judgement",),
    ("entrants",),
    ("report",),
    ("environment",),
    ("trained", "published", "exported"),
    ("runs",),
    ("repetition", "inside"),
    ("claim", "journal"),
    ("image_archive", "image_listing", "prediction", "prediction_file"),
    ("console",),
    ("external",),
    ("study", "splitting", "auditing"),
    ("tuning",),
)
DOORS = (
    *(
        "__init__",
        "__main__",
        "cli",
        "cache_commands",
        "data_commands",
        "split_command",
        "evaluate_command",
        "serve_command",
        "tune_command",
        "outcome",
        "check",
    ),
    *("estimators", "serving", "cluster", "learn", "exporting", "export_command", "predict_command"),
)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "PIL", "pydantic", "rich", "jinja2")
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names} | dict.fromkeys(DOORS, len(ROOMS))


def imports(source: str, package: str, modules: set[str]):
    """Line and room of every import of clearmargin in a module's source, those inside functions included.

    ``package`` is the package the module is in (for relative imports); ``modules`` are the names right under
    clearmargin, without which ``from clearmargin import x`` could be a name of ``__init__``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, *filter(None, [node.module])])
            targets = [f"{origin}.{alias.name}" for alias in node.names] if origin == "clearmargin" else [origin]
        else:
            continue
        for target in targets:
            top, _, rest = target.partition(".")
            if top == "clearmargin":
                room = rest.partition(".")[0]
                yield node.lineno, room if room in modules else "__init__"


def wrong_arrows(package: Path) -> list[str]:
    """Sentences, each naming file and line."""
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    wrong = []
    for path in sorted(package.rglob("*.py")):
        inner = path.relative_to(package)
        room = inner.parts[0].removesuffix(".py")
        home = ".".join(["clearmargin", *inner.parts[:-1]])
        if room not in RANK:
            wrong.append(f"{inner}:1 is in no room: add {room!r} to ROOMS or DOORS in {Path(__file__).name}")
            continue
        for line, target in imports(path.read_text(encoding="utf-8"), home, modules):
            if target == room or room in DOORS:
                continue
            if target in DOORS:
                wrong.append(f"{inner}:{line} imports {target}, which is a door: nobody imports a door")
            elif RANK.get(target, -1) > RANK[room]:
                wrong.append(f"{inner}:{line} imports {target}, a later room than {room}: move what is shared forward")
    return wrong


def test_rooms_import_only_earlier_rooms():
    wrong = wrong_arrows(PACKAGE)
    assert not wrong, "\n" + "\n".join(wrong)


def test_modules_are_named_after_what_they_hold():
    empty = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*") if path.stem in EMPTY_NAMES]
    assert not empty, f"Name these after what they hold: {', '.join(empty)}"


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("split.py", "from clearmargin.training import fit", "split.py:1 imports training, a later room"),
        ("split.py", "def f():\n    import clearmargin.report.figures", "split.py:2 imports report, a later room"),
        ("split.py", "from clearmargin import study", "split.py:1 imports study, a later room"),
        ("split.py", "from clearmargin import run", "split.py:1 imports __init__, which is a door"),
        ("split.py", "import clearmargin", "split.py:1 imports __init__, which is a door"),
        ("report/html.py", "from ..cli import main", "html.py:1 imports cli, which is a door"),
        ("audit/near.py", "from .. import split", "near.py:1 imports split, a later room"),
        ("audit/near.py", "from ..audit import x\nfrom . import copies\nfrom .copies import y", None),
        ("report/html.py", "import torch\nfrom clearmargin.split import make_split", None),
        ("cli.py", "from clearmargin.study import run_study\nfrom clearmargin import __version__", None),
        ("elsewhere.py", "", "elsewhere.py:1 is in no room"),
    ],
)
def test_the_reading_of_imports(tmp_path, file, source, complaint):
    packages = ("audit/__init__.py", "report/__init__.py", "training/__init__.py")
    for name in ("__init__.py", "split.py", "study.py", "cli.py", *packages):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / file).write_text(source)
    wrong = wrong_arrows(tmp_path)
    assert [complaint in sentence.replace("\\", "/") for sentence in wrong] == ([True] if complaint else [])


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, clearmargin; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], f"`import clearmargin` loads {done.stdout.strip()}: import it where it is used"


def test_predicting_loads_no_statistics():
    code = "import sys, clearmargin.prediction; print(*(name for name in sys.modules if name.startswith('scipy.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"scipy.stats", "scipy.optimize", "scipy.ndimage", "scipy.special"} & set(done.stdout.split())
    assert not slow, f"`clearmargin predict` would wait for {slow}: write scipy.stats.f, and `import scipy`"


@pytest.mark.parametrize(
    "room", ["sources", "pixels", "split", "audit", "features", "evaluation", "leakage", "study", "auditing"]
)
def test_rooms_before_the_networks_do_without_torch(room):
    code = f"import sys, clearmargin.{room}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", f"`import clearmargin.{room}` loads torch"
