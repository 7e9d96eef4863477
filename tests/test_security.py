"""What a study from elsewhere cannot do: run code that it does not name, write elsewhere, put markup into a report."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy.engine import make_url

from analysis.errors import AnalysisError
from analysis.report.markup import latex_text, markdown_text
from analysis.report.render import render_report
from bench.core.errors import UserError
from bench.core.registry import Registry
from bench.core.types import DataFacts
from bench.models.build import build_model
from bench.study.spec import ModelSpec
from bench.study.templates import new_study

ROOT = Path(__file__).parents[1]
TREES = {
    path: ast.parse(path.read_text()) for package in ("bench", "analysis") for path in (ROOT / package).rglob("*.py")
}
#: Calls that run what they read, whatever the arguments.
NEVER = {"eval", "exec", "execfile", "__import__", "os.system", "os.popen", "pd.read_pickle"}
MODULES_NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
#: Calls that run what they read unless an argument forbids it: that argument, and its value.
UNLESS = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}
SQL = {"execute", "exec_driver_sql", "text", "scalar", "scalars", "read_sql", "read_sql_query"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Place, name and node of every call in our packages."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), node


def test_nothing_runs_what_it_reads():
    for place, name, call in calls():
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in NEVER, place
        if name in UNLESS:
            argument, value = UNLESS[name]
            assert given.get(argument) == value, place
        assert given.get("shell") in (None, "False"), place
        if name.endswith("YAML"):
            assert given.get("typ") in ("'rt'", "'safe'"), place


def test_no_module_that_unpickles_is_imported():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & MODULES_NEVER, f"{path}:{node.lineno}"


def test_sql_is_never_made_of_strings():
    for place, name, call in calls():
        if name.rpartition(".")[2] in SQL and call.args:
            query = call.args[0]
            assert not [node for node in ast.walk(query) if isinstance(node, ast.JoinedStr)], place
            assert not isinstance(query, ast.BinOp), place
            assert ".format(" not in ast.unparse(query), place


STUDY = """\
name: s
data: [digits]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 1
scorers: [SCORER]
sparsities: [0.5]
"""


@pytest.mark.parametrize(("scorer", "imported"), [("magnitude", []), ("./mine.py:score", ["mine"])])
def test_a_file_in_the_study_folder_is_imported_only_by_its_name(tmp_path, monkeypatch, command, scorer, imported):
    names = ("mine", "sitecustomize", "conftest", "plugins", "torch", "numpy", "bench", "analysis", "psycopg", "ray")
    for name in names:
        (tmp_path / f"{name}.py").write_text(
            f"from pathlib import Path\n(Path(__file__).parent / {name + '.ran'!r}).touch()\n"
            "def score(view, calibration, generator): ...\n"
        )
    (tmp_path / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "study.yaml").write_text(STUDY.replace("SCORER", scorer))
    (tmp_path / "claims.yaml").write_text("version: 2\ninclude: [sics]\n")
    monkeypatch.chdir(tmp_path)
    assert command("plan", tmp_path).code == 0
    assert sorted(path.stem for path in tmp_path.glob("*.ran")) == imported


@pytest.mark.parametrize("argument", ["pretrained", "checkpoint_path", "pretrained_cfg_overlay", "model_name"])
def test_timm_reads_no_weights_of_its_own(tmp_path, argument):
    """It would unpickle them."""
    spec = ModelSpec(name="resnet10t", args={argument: str(tmp_path / "evil.pth")})
    with pytest.raises(UserError, match="name its weights as `checkpoint`"):
        build_model(spec, Registry([]), DataFacts("none", (32, 32), 3, 10, 0, 0, 0, 0, 0, 0), 0)


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_hostile_names_stay_in_the_study_folder(hostile_study):
    """The run and the report of `hostile_study` wrote into it alone, under names of plain characters."""
    assert list(hostile_study.parent.iterdir()) == [hostile_study]
    written = [
        path.relative_to(hostile_study) for path in hostile_study.rglob("*") if path.suffix not in (".py", ".pyc")
    ]
    assert len([path for path in written if path.suffix == ".svg"]) > 2
    assert not [path for path in written if not re.fullmatch(r"[\w./-]+", str(path))]


def test_a_link_in_the_report_is_not_followed(hostile_study, tmp_path):
    study, outside = Path(shutil.copytree(hostile_study, tmp_path / "study")), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    page = study / "report" / "index.html"
    page.unlink()
    for name in ("index.html", ".index.html.new", "report.md"):
        (study / "report" / name).unlink(missing_ok=True)
        (study / "report" / name).symlink_to(outside / "precious")
    render_report(study)
    assert (outside / "precious").read_text() == "mine"
    for name in ("report/figures", "report"):
        shutil.rmtree(study / name)
        (study / name).symlink_to(outside)
        with pytest.raises(AnalysisError, match="leads out of the study"):
            render_report(study)
        (study / name).unlink()
        (study / "report").mkdir(exist_ok=True)
    assert everything(outside) == {outside / "precious"}


def test_a_manifest_deletes_nothing_elsewhere(hostile_study, tmp_path):
    study = Path(shutil.copytree(hostile_study, tmp_path / "study"))
    precious = [tmp_path / "precious", study / "claims.yaml"]
    precious[0].write_text("mine")
    names = [str(precious[0]), "../claims.yaml", "../../precious", "figures/../../../precious"]
    (study / "report" / "manifest.json").write_text(json.dumps(dict.fromkeys(names, "")))
    render_report(study)
    assert all(path.exists() for path in precious)


def test_new_follows_no_link_and_spares_what_is_there(tmp_path):
    for name in ("study.yaml", "claims.yaml"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).symlink_to(tmp_path / "outside")
        with pytest.raises(UserError, match="exists"):
            new_study(folder, "digits", [], None)
        (folder / name).unlink()
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match="exists already"):
            new_study(folder, "digits", [], None)
        assert (folder / name).read_text() == "mine"
    assert not (tmp_path / "outside").exists()


class Page(HTMLParser):
    """What a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {(key, value or "") for key, value in attrs}

    def handle_data(self, data):
        self.said.append(data)


TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "nav", "a", "div", "table", "caption",
    "thead", "tbody", "tr", "th", "td", "section", "figure", "img", "figcaption", "details", "summary", "ul", "li",
    "em", "strong", "span",
}  # fmt: skip


def test_the_page_shows_hostile_names_and_obeys_none(hostile_study):
    page = Page((hostile_study / "report" / "index.html").read_text())
    assert page.tags <= TAGS
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    links = [value for key, value in page.attributes if key in ("href", "src")]
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)
    said = "".join(page.said)
    for name in ("<script>document", '"><img src=x onerror', "</style></title>", "javascript:document", "{{ 7 * 7 }}"):
        assert name in said


def test_figures_hold_no_markup_of_names(hostile_study):
    figures = list((hostile_study / "report" / "figures").glob("*.svg"))
    assert figures
    said = ""
    for figure in figures:
        for element in ElementTree.parse(figure).iter():
            space, _, tag = element.tag[1:].partition("}")
            assert space == "http://www.w3.org/2000/svg" or tag in ("RDF", "Work", "type", "format", "Agent", "title")
            assert tag not in ("script", "foreignObject", "iframe", "a", "set", "animate")
            assert not [key for key in element.attrib if key.rpartition("}")[2].startswith("on")]
            links = [value for key, value in element.attrib.items() if key.rpartition("}")[2] == "href"]
            assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
            said += element.text or ""
    assert "<script>document" in said


def test_markdown_and_tables_hold_no_markup_of_names(hostile_study):
    report = hostile_study / "report"
    text = re.sub(r"\\.", "", (report / "report.md").read_text())
    assert set(re.findall(r"<[^>]*>?", text)) <= {"<details>", "<summary>", "</summary>", "</details>"}
    assert not re.search(r"\]\((?!figures/[\w-]+\.svg\)|tables/[\w-]+\.tex\)|index\.html#\w+\))", text)
    for table in (report / "tables").glob("*.tex"):
        for line in table.read_text().splitlines():
            bare = re.sub(r"\\[&%$#_{}]|\\text[a-z]+\{\}|\{[\[*]\}|\$(-|\\times)\$", "", line.removesuffix(r"\\"))
            commands = r"\\(begin|end|caption|toprule|midrule|endhead|bottomrule|endfoot|par|footnotesize)"
            assert not re.search(r"[\\%$#_~^<>|\"\[*]", re.sub(commands, "", bare)), line


def test_latex_and_markdown_escape_what_they_would_act_on():
    assert latex_text("[1] \\input{x}\n*") == r"{[}1] \textbackslash{}input\{x\} {*}"
    assert markdown_text("![x](javascript:y) <b>") == r"\!\[x\](javascript:y) &lt;b&gt;"


def test_a_folder_with_any_name_is_its_own_database(tmp_path, command):
    """A name is a name: it is no query of a database's URL."""
    folder = tmp_path / "a?mode=ro&b#c%41 [red]"
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY.replace("SCORER", "magnitude"))
    assert command("status", folder).code == 2
    assert make_url(f"sqlite:///{folder}").database != str(folder)  # what a formatted URL would have meant
    before = set(tmp_path.iterdir())
    assert command("run", folder, "--limit", "1").code == 0
    assert (folder / "results.db").is_file()
    assert set(tmp_path.iterdir()) == before
    assert "1 done" in command("status", folder).out


def test_names_are_no_commands_to_a_terminal(tmp_path, command):
    text = STUDY.replace("SCORER", "magnitude")
    for name in ("'[red]x[/blue] :smile:'", '"\\u001b[31m"', '"a\\nb"'):
        (tmp_path / "study.yaml").write_text(text.replace("name: s", f"name: {name}"))
        done = command("plan", tmp_path)
        assert "\x1b" not in done.out + done.err
        assert done.code == (2 if "u001b" in name else 0)
        assert "[red]" not in name or "[red]x[/blue] :smile:" in done.out
