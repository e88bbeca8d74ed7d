"""The house rules, over the syntax tree: who imports whom, where loops are, how long files and functions get."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "obverse"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# From the top; a part imports from its own level and from those below. Unlike in the plan, networks are at the bottom:
# they import nothing of ours, and a classifier folder is filled with one.
LEVELS = [
    {"__init__", "__main__", "cli", "commands", "app"},
    {"report", "evaluation", "compare", "audit", "opened"},
    {"methods", "baselines", "metrics"},
    {"explainer", "generative", "models", "latent", "translation", "training", "search", "losses", "known", "classification",
     "batches", "state"},
    {"classifier", "explanation", "data", "checkpoint", "runs", "progress", "networks", "modules", "probe", "settings",
     "figures", "memory"},
]
COMMANDS = {"__main__.py", "cli.py", "cli", "commands", "app"}  # nothing else imports them, and they alone may print
MOST_LINES, MOST_IN_A_FUNCTION = 400, 80


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def part_of(module: str) -> str:
    """The first name below the package: obverse.data.base is in data; obverse and its public names are __init__."""
    name = [*module.split("."), "__init__"][1]
    return name if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").exists() else "__init__"


def level_of(part: str) -> int:
    found = [number for number, parts in enumerate(LEVELS) if part in parts]
    assert len(found) == 1, f"{part} is in no level of the plan's section 2; say where it belongs"
    return found[0]


def only_for_types(tree: ast.Module) -> set[ast.AST]:
    """Whatever is below `if TYPE_CHECKING:`."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every module imported, and whether for types only."""
    tree, found = TREES[path], []
    types = only_for_types(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import; name the module whole"
            submodules = [alias.name for alias in node.names if node.module == "obverse"]
            found += [(f"obverse.{name}", node in types) for name in submodules] or [(str(node.module), node in types)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            found += [(str(name.value), False) for name in node.args if isinstance(name, ast.Constant)]
    return found


def own_imports(path: Path) -> list[str]:
    """Modules of ours that are imported when it runs."""
    if path == SOURCE / "__init__.py":
        return []  # the list of public names
    return [module for module, types in imports(path) if module.split(".")[0] == "obverse" and not types]


def each_file(function):
    return pytest.mark.parametrize("path", FILES, ids=name_of)(function)


@each_file
def test_imports_go_down_only(path):
    own = level_of(path.relative_to(SOURCE).parts[0].removesuffix(".py"))
    for module in own_imports(path):
        assert level_of(part_of(module)) >= own, f"{name_of(path)} imports {module}, which is above it"


def test_a_part_and_its_imports_form_no_ring():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        graph.setdefault(part, set()).update({part_of(module) for module in own_imports(path)} - {part})
    while graph:
        free = {part for part, needs in graph.items() if not needs & graph.keys()}
        assert free, f"these import each other in a ring: {sorted(graph)}"
        graph = {part: needs for part, needs in graph.items() if part not in free}


@each_file
def test_no_method_imports_another_and_nothing_imports_the_command_line(path):
    folder = path.relative_to(SOURCE).parts[0]
    for module in own_imports(path):
        assert folder in COMMANDS or part_of(module) not in COMMANDS, f"{name_of(path)} imports {module}"
        if folder == "methods":
            assert part_of(module) != "methods", f"{name_of(path)} imports the method {module}"
    if path.name == "training.py":
        assert "obverse.explainer" not in own_imports(path)


@each_file
def test_there_are_two_loops_only(path):
    if name_of(path) in ("training.py", "search.py"):
        return
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("backward", "step"), f"{name_of(path)}:{node.lineno} calls .{node.func.attr}("


@each_file
def test_nothing_runs_on_load_and_torchvision_stays_out(path):
    modules = {module.split(".")[0] for module, _ in imports(path)}
    assert not modules & {"torchvision", "pickle", "dill", "cloudpickle", "joblib"}, name_of(path)
    calls = {ast.unparse(n.func) for n in ast.walk(TREES[path]) if isinstance(n, ast.Call)}
    assert not calls & {"torch.load", "torch.save", "pickle.load", "eval", "exec"}, name_of(path)
    names = {n.id for n in ast.walk(TREES[path]) if isinstance(n, ast.Name)}
    assert "pickle" not in names


def test_the_project_does_not_depend_on_torchvision():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *(need for extra in project["optional-dependencies"].values() for need in extra)]
    assert not [need for need in needs if re.match(r"torchvision\b", need)]


@each_file
def test_no_assert_and_no_print(path):
    for node in ast.walk(TREES[path]):
        assert not isinstance(node, ast.Assert), f"{name_of(path)}:{node.lineno}: an assert at a user"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "pprint", "rich.print"):
            assert path.relative_to(SOURCE).parts[0] in COMMANDS, f"{name_of(path)}:{node.lineno}: print"


@each_file
def test_keyword_arguments_are_explicit(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            assert node.args.kwarg is None, f"{name_of(path)}:{node.lineno}: arguments without a name"


@each_file
def test_files_and_functions_stay_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [*node.body]
            if ast.get_docstring(node) is not None:
                body = body[1:]  # the docstring does not count
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= MOST_IN_A_FUNCTION, f"{name_of(path)}: {node.name} has {length} lines"



@each_file
def test_no_name_of_ours_says_discriminator(path):
    words = {n.id for n in ast.walk(TREES[path]) if isinstance(n, ast.Name)}
    words |= {n.attr for n in ast.walk(TREES[path]) if isinstance(n, ast.Attribute)}
    words |= {n.arg for n in ast.walk(TREES[path]) if isinstance(n, ast.arg)}
    assert not [word for word in words if "discriminator" in word.lower()]


def test_every_public_name_can_be_had():
    import obverse

    for name in obverse.__all__:
        assert getattr(obverse, name) is not None, name
    assert set(obverse.__all__) <= set(dir(obverse))
    with pytest.raises(AttributeError, match=r"module 'obverse' has no attribute 'SICE'; it has .*SyCE"):
        _ = obverse.SICE


def test_public_names_for_types_and_at_run_time_are_the_same():
    tree = TREES[SOURCE / "__init__.py"]
    types = only_for_types(tree)
    listed = {alias.asname or alias.name for n in ast.walk(tree) if n in types and isinstance(n, ast.ImportFrom)
              for alias in n.names}  # fmt: skip
    import obverse

    assert listed == set(obverse.__all__) - {"__version__"}


@pytest.mark.process
def test_importing_obverse_is_quick_and_waits_for_nothing():
    code = ("import sys, time; start = time.perf_counter(); import obverse; took = time.perf_counter() - start; "
            "print(took, 'torch' in sys.modules, 'numpy' in sys.modules)")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    settings = {"capture_output": True, "text": True, "env": environment, "check": True}
    said = [subprocess.run(command, **settings).stdout for _ in range(3)]
    assert all(line.split()[1:] == ["False", "False"] for line in said)
    assert min(float(line.split()[0]) for line in said) < 0.5
