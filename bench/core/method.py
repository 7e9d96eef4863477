"""What anyone must know of a method, in one record: stored with a study, and read from the evidence by the analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from bench.core.errors import UserError, suggest
from bench.core.types import OF_ONE_LAYER, Granularity

F = TypeVar("F", bound=Callable[..., Any])

Colour = Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
Marker = Literal[
    "o", "s", "^", "v", "<", ">", "D", "d", "p", "P", "h", "H", "*", "x", "X", "+", "1", "2", "3", "4", "8",
]  # fmt: skip
Line = Literal["solid", "dashed", "dotted", "mixed"]
Complexity = Annotated[int, Field(ge=0, le=2)] | Literal["fake"]

#: Family of a scorer that names none: one that fuses features, and any other.
OTHER_FEATURES, OTHER = "other features", "other"


@dataclass(frozen=True)
class Method:
    """The facts about a method, without its function.

    Attributes
    ----------
    kind, name : str
        One of `bench.core.registry.KINDS`; unique within its kind.
    version : int or str
        Raised when results change; the SHA-256 of the source file for a user's plug-in.
    formula, cost, reference : str
        Shown by ``prunebench list``.
    granularities : tuple of str
        Where it is defined; a cell elsewhere is skipped with a reason. At ``head`` and ``group`` a scorer sees the
        member channels of every unit, and a unit's score is their mean.
    glossary : str
        Explanation in the glossary of a report: a phrase that fits in brackets behind the name.
    terms : mapping of str to str
        Further entries of the glossary that the method's results need, term -> explanation.
    family : str or None
        Scorers: what the scores are computed from. Families are compared by a mixed model, and a figure of feature
        scorers has one facet for each. An empty text keeps a scorer out of both. None is replaced by `OTHER_FEATURES`
        or `OTHER`.
    colour, marker, line : str or None, str or None, str
        How it is drawn: ``#rrggbb``, a marker of matplotlib and the kind of line. Where one is None, a report derives
        all three from the name.
    gradients : bool or None
        Scorers: whether the loss of whole calibration batches is differentiated, so that their activations are kept.
        Only the forecast of memory depends on it. None is replaced by False for feature scorers, else by True.
    moments : int
        Largest number of bytes that it uses for second moments of layer inputs, unless one layer alone needs more; 0
        if it needs none.
    sets_sparsity : bool or None
        Allocations: whether it determines the sparsity itself. None is replaced by whether the function's argument
        ``sparsity`` is annotated ``None``.
    curve : bool
        Scorers: whether the score is a function of the rank u alone, given generator and target sparsity.
    complexity : int, "fake" or None
        Scorers: kappa by design, 0 to 2; ``"fake"`` for features that do not depend on the rank.
    complete : bool
        Recalibrations: whether the new statistics do not depend on the old ones, so that any rescaling of channels
        before BatchNorm cancels, up to eps and to what a running average keeps of its reset.
    """

    kind: str
    name: str
    _: KW_ONLY
    version: int | str = 1
    formula: str = ""
    cost: str = ""
    reference: str = ""
    granularities: tuple[Granularity, ...] = OF_ONE_LAYER
    glossary: str = ""
    terms: Mapping[str, str] = field(default_factory=dict)
    family: str | None = None
    colour: Colour | None = None
    marker: Marker | None = None
    line: Line = "solid"
    gradients: bool | None = None
    moments: int = 0
    sets_sparsity: bool | None = None
    curve: bool = False
    complexity: Complexity | None = None
    complete: bool = False


#: Attribute of a described function that holds the fields.
_FIELDS = "prunebench_fields"
_RECORD = TypeAdapter(Method)
_RECORDS = TypeAdapter(tuple[Method, ...])


def describe(**facts: Any) -> Callable[[F], F]:
    """Set fields of `Method` for a user's plug-in; a decorator.

    Parameters
    ----------
    **facts
        Any fields but ``kind``, ``name`` and ``version``. What is left out has the default; ``formula`` and
        ``glossary`` are by default the first line of the docstring.

    Raises
    ------
    UserError
        If there is no such field, or its value is not allowed.

    Examples
    --------
    >>> @describe(family="inputs", glossary="weight times the largest input", colour="#0072b2", marker="s")
    ... def largest_input(view, calibration, generator): ...
    >>> described(largest_input)["family"]
    'inputs'
    """
    known = [each.name for each in fields(Method) if each.name not in ("kind", "name", "version")]
    for name in facts:
        if name not in known:
            raise UserError(f"describe: a method has no field {name!r}: {suggest(name, known)}")
    try:
        _RECORD.validate_python({"kind": "scorer", "name": "any", **facts})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"describe: field {first['loc'][0]!r} is {first['input']!r}: {first['msg']}") from error

    def attach(function: F) -> F:
        setattr(function, _FIELDS, dict(facts))
        return function

    return attach


def described(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the fields that `describe` set for a function."""
    return dict(getattr(function, _FIELDS, {}))


def dump_methods(methods: tuple[Method, ...]) -> str:
    """Return records as JSON text.

    Examples
    --------
    >>> load_methods(dump_methods((Method("scorer", "mine", family="inputs"),)))[0].family
    'inputs'
    """
    return _RECORDS.dump_json(methods).decode()


def load_methods(text: str | bytes) -> tuple[Method, ...]:
    """Read what `dump_methods` returned.

    Raises
    ------
    ValueError
        If the text is not such JSON.
    """
    return _RECORDS.validate_json(text)
