"""Data flow one way: a file imports only from its own layer or lower ones, and nothing goes round."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "bench.types": 0, "bench.identity": 0, "bench.errors": 0, "bench.heap": 0,
    "bench.store": 1, "bench.tensors": 1, "bench.registry": 1, "bench.study": 1, "bench.templates": 1,
    "bench.plan": 2, "bench.provenance": 2, "bench.data": 2, "bench.models": 2,
    "bench.scorers": 3, "bench.masks": 3, "bench.repairs": 3, "bench.evaluate": 3,
    "bench.alignment": 3, "bench.settings": 3, "bench.checks": 2,
    "bench.catalogue": 4, "bench.conformance": 4, "bench.pipeline": 4, "bench.curves": 4,
    "bench.engines": 5, "bench.session": 5, "bench.listing": 5, "bench.forecast": 5, "bench.export": 5,
    "bench.doctor": 5, "bench.memory": 4, "bench.scaling": 2, "bench.speed": 5,
    "bench.cli": 6,
}  # fmt: skip
SHARED = (
    "bench.store.schema", "bench.store.reader", "bench.store.documents", "bench.store.dense_accuracy",
    "bench.store.network",
)  # fmt: skip
NO_TORCH = ("bench.types", "bench.identity", "bench.errors", "bench.store", "bench.study", "bench.templates")
READING_COMMANDS = ("--help", "status", "show", "report", "claims", "power")


def modules() -> dict[str, Path]:
    found = {}
    for package in ("bench", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def imports(path: Path, *, inside_functions: bool) -> set[str]:
    """Modules that a file imports, at its top or (also) inside functions."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if inside_functions else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def layer(module: str) -> int | None:
    while module:
        if module in LAYERS:
            return LAYERS[module]
        module = module.rpartition(".")[0]
    return None


BENCH = [name for name in modules() if name.startswith("bench.")]


@pytest.mark.parametrize("module", BENCH)
def test_imports_go_down(module):
    mine = layer(module)
    assert mine is not None, f"{module} has no layer"
    for name in imports(modules()[module], inside_functions=module != "bench.cli"):
        theirs = layer(name)
        assert theirs is None or theirs <= mine, f"{module} (layer {mine}) imports {name} (layer {theirs})"


def test_no_import_goes_round():
    known = modules()
    graph = {
        name: {other for other in imports(path, inside_functions=False) if other in known and other != name}
        for name, path in known.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) >= set(known)


@pytest.mark.parametrize("module", [name for name in modules() if name.split(".")[0] == "analysis"])
def test_analysis_reads_the_store_and_nothing_else_of_bench(module):
    names = imports(modules()[module], inside_functions=True)
    assert not [name for name in names if name.split(".")[0] == "torch"]
    ours = {name for name in names if name.split(".")[0] == "bench"}
    assert all(name.startswith(SHARED) or name == "bench.store" for name in ours)


@pytest.mark.parametrize("module", [n for n in modules() if n.startswith(NO_TORCH)])
def test_the_lowest_layers_know_no_torch(module):
    assert "torch" not in {name.split(".")[0] for name in imports(modules()[module], inside_functions=True)}


def test_only_the_command_line_imports_inside_functions():
    for name, path in modules().items():
        inside = [
            node
            for function in ast.walk(ast.parse(path.read_text()))
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not inside or name == "bench.cli", name


@pytest.mark.parametrize("arguments", READING_COMMANDS)
def test_reading_commands_never_load_what_is_slow(arguments, tiny, command):
    assert command("run", tiny, "--profile", "one").code == 0
    words = [arguments] + ([] if arguments == "--help" else [str(tiny)]) + (["0"] if arguments == "show" else [])
    code = (
        "import sys; from bench.cli import main; sys.argv = ['prunebench', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'pandas' not in sys.modules or sys.argv[1] not in ('--help', 'status')\n"  # half a second
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
