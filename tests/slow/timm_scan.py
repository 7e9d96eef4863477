"""Scan timm's networks at 32 pixels and write docs/NETWORKS.md: ``python tests/slow/timm_scan.py [RESULTS]``.

``timm_networks.yaml`` lists the networks, by family (the module of `timm.models` that defines them), each with the
arguments that make it small. RESULTS is a file of JSON lines to which outcomes are added as they come; what it holds
already is not computed again.

Every network is checked as `prunebench plan` does, then pruned by magnitude to half of the weights of each layer. What
the pruned network multiplies is measured without the project's own counting: `Operands` sees the calls of torch's
functions, and takes for a weight what has the same values for two images and needs a gradient.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ruamel.yaml import YAML
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.core.errors import UserError  # noqa: E402
from bench.core.registry import Registry  # noqa: E402
from bench.core.types import DataFacts  # noqa: E402
from bench.models.build import build_model  # noqa: E402
from bench.models.check import check_network  # noqa: E402
from bench.models.inventory import take_inventory  # noqa: E402
from bench.models.macs import count_macs  # noqa: E402
from bench.models.mask_counts import MaskCounts  # noqa: E402
from bench.models.masking import apply_masks  # noqa: E402
from bench.models.tensors import MaskSet  # noqa: E402
from bench.models.units import find_units  # noqa: E402
from bench.store.network import percent  # noqa: E402
from bench.study.spec import ModelSpec  # noqa: E402

PAGE = ROOT / "docs" / "NETWORKS.md"
NETWORKS: dict[str, dict[str, dict[str, Any]]] = YAML(typ="safe").load(
    Path(__file__).with_name("timm_networks.yaml").read_text(encoding="utf-8")
)
FACTS = DataFacts("0", (32, 32), 3, 10, 0, 0, 0, 0, 0, 0)
REGISTRY = Registry([], folder=ROOT)
SPARSITY = 0.5


@dataclass(frozen=True)
class Measured:
    """What a network pruned by half multiplies, for one image.

    Attributes
    ----------
    pruned : int
        Zeros in its prunable parameters.
    zeros : int
        Zeros in the weight operands of its products, each operand once.
    macs, remaining : int
        Multiply-accumulate operations by `Operands`; those with a weight and an input channel that are not zero.
    counted, counted_remaining : float
        The same by `count_macs`.
    counted_by_mask : float
        The latter by `MaskCounts`, which counts the weights that are left.
    flop_counter : float
        Half of the FLOPs of torch's `FlopCounterMode`.
    """

    pruned: int
    zeros: int
    macs: int
    remaining: int
    counted: float
    counted_remaining: float
    counted_by_mask: float
    flop_counter: float


@dataclass(frozen=True)
class Outcome:
    """What the scan found of one network; shares are of all parameters and of all MACs.

    Attributes
    ----------
    name, family : str
        Of the network.
    failure : str or None
        The one line with which it was refused; the rest is then empty.
    parameters : int
        Size.
    prunable : tuple of float
        Shares of parameters and of MACs that can be pruned.
    dense : list of tuple
        ``(reason, layers, share of parameters, share of MACs)``.
    notes : list of str
        Of the check.
    measured : Measured or None
        Of the pruned network.
    seconds : float
        Of the check.
    """

    name: str
    family: str
    failure: str | None = None
    parameters: int = 0
    prunable: tuple[float, float] = (0.0, 0.0)
    dense: tuple[tuple[str, int, float, float], ...] = ()
    notes: tuple[str, ...] = ()
    measured: Measured | None = None
    seconds: float = 0.0

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        found = json.loads(text)
        measured = found.pop("measured")
        found |= {"prunable": tuple(found["prunable"]), "dense": tuple(map(tuple, found["dense"]))}
        return cls(**found, measured=None if measured is None else Measured(**measured))


def scan(family: str, name: str) -> Outcome:
    """Check one network, prune it and measure it; anything but a `UserError` of the check is raised."""
    spec = ModelSpec(name=name, args=NETWORKS[family][name])
    start = time.perf_counter()
    try:
        network = check_network(spec, REGISTRY, FACTS)
    except UserError as error:
        return Outcome(name, family, str(error), seconds=time.perf_counter() - start)
    seconds = time.perf_counter() - start
    dense = tuple((one.reason, one.layers, one.parameters, one.macs) for one in network.left_dense("weight"))
    # a network all of whose weights are computed has nothing to prune and measure
    measured = measure(build_model(spec, REGISTRY, FACTS, seed=0)) if network.has_units("weight") else None
    return Outcome(
        name, family, None, network.parameters, network.prunable("weight"), dense, network.notes, measured, seconds
    )


def measure(model: nn.Module) -> Measured:
    """Prune half of the weights of every layer and measure what is multiplied."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # a zero is then a pruned weight
            parameter.masked_scatter_(parameter == 0, 0.01 * torch.randn(parameter.shape, generator=generator).abs())
    x, other = torch.randn(2, 1, 3, 32, 32, generator=generator).abs()
    inventory = take_inventory(model, torch.cat([x, other]))
    units = find_units(model, "weight", ("head",), inventory)
    by_mask = MaskCounts(model, inventory, units, x, count_macs(model, x))
    masks = {}
    for layer in units.layers:
        magnitudes = model.get_parameter(layer.parameter).detach().abs().flatten()
        kept = torch.ones(len(magnitudes), dtype=torch.bool)
        kept[magnitudes.argsort()[: round(SPARSITY * len(magnitudes))]] = False
        masks[layer.name] = kept.view(layer.unit_shape)
    with torch.no_grad():
        apply_masks(model, units, MaskSet(units, masks))
    pruned = sum(int((model.get_parameter(layer.parameter) == 0).sum()) for layer in units.layers)
    found = Operands.of(model, x, other)
    counted = count_macs(model, x)
    model.requires_grad_(False)  # the counter's module tracker fails on some networks with gradients
    with no_fused_kernels(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return Measured(
        pruned, found.zeros, found.macs, found.remaining, counted.total, counted.remaining,
        by_mask.of(MaskSet(units, masks), lambda: model).macs.remaining, counter.get_total_flops() / 2,
    )  # fmt: skip


class Operands(TorchFunctionMode):
    """The two factors of every product, as torch's functions get them, and what each call costs.

    Activations that can be zero for negative numbers get absolute values, so that what is zero in a channel is so for
    every image: no weight reads anything else, as where a filter is larger than its map.

    Attributes
    ----------
    calls : list of tuple
        MACs; for each of the two factors its address, its hash, and its zeros and size if it needs a gradient; the
        non-zero weights that read a channel of zeros.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, list[int], list[int], list[tuple[int, int] | None], int]] = []

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, other: Tensor) -> Operands:
        """Run a network on two images and compare their factors; factors that are alike are weights."""
        passes = []
        for image in (x, other):
            with no_fused_kernels(), cls() as mode:
                model(image)
            passes.append(mode)
        first, second = passes
        if len(first.calls) != len(second.calls):
            raise ValueError("two images take different ways through the network")
        first.summarise(second)
        return first

    def summarise(self, second: Operands) -> None:
        """Sum up the MACs, and the zeros of the weights, each weight once."""
        self.macs = sum(macs for macs, *_ in self.calls)
        self.remaining = self.macs
        seen: dict[tuple[int, int], int] = {}
        for (macs, places, hashes, counts, idle), (_, _, others, *_) in zip(self.calls, second.calls, strict=True):
            fixed = [
                (place, one, count)
                for place, one, other, count in zip(places, hashes, others, counts, strict=True)
                if one == other and count is not None
            ]
            if fixed:  # of two weights, as in the multiplication of fixed coordinates, the second
                place, one, (zeros, size) = fixed[-1]
                seen[place, one] = zeros
                self.remaining -= macs * (zeros + idle) // size
        self.zeros = sum(seen.values())

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in SILENT:
            args = (args[0].abs(), *args[1:])
        result = func(*args, **(kwargs or {}))
        count = COUNTS.get(func)
        if count is not None:
            for macs, first, second in count(result, *args, **(kwargs or {})):
                self._note(macs, IDLE.get(func, no_idle_weights), first, second)
        return result

    def _note(self, macs: int, idle_weights: Callable[[Tensor, Tensor], int], *factors: Tensor) -> None:
        with torch._C.DisableTorchFunction():
            hashes = [zlib.crc32(factor.detach().contiguous().numpy()) for factor in factors]  # type: ignore[arg-type]
            counts = [
                (int((factor == 0).sum()), factor.numel()) if factor.requires_grad else None for factor in factors
            ]
            # what needs no gradient does not come from a layer: images, or constants as relative coordinates
            idle = idle_weights(*factors) if factors[0].requires_grad else 0
        self.calls.append((macs, [factor.data_ptr() for factor in factors], hashes, counts, idle))


#: MACs of a call, and its two factors, the weight second where a function knows it.
Products = Iterator[tuple[int, Tensor, Tensor]]


def of_convolution(output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Products:  # noqa: A002
    yield output.numel() * prod(weight.shape[1:]), input, weight


def of_transposed(output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Products:  # noqa: A002
    yield input.numel() * prod(weight.shape[1:]), input, weight


def of_linear(output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Products:  # noqa: A002
    yield output.numel() * weight.shape[-1], input, weight


def of_product(output: Tensor, first: Tensor, second: Tensor, *_: Any, **__: Any) -> Products:
    yield output.numel() * first.shape[-1], first, second


def of_sum(output: Tensor, _: Tensor, first: Tensor, second: Tensor, **__: Any) -> Products:
    yield output.numel() * first.shape[-1], first, second


def of_einsum(output: Tensor, equation: str, *factors: Any) -> Products:
    tensors = factors[0] if isinstance(factors[0], list | tuple) else factors
    if len(tensors) == 2:
        sizes: dict[str, int] = {}
        for labels, tensor in zip(equation.replace(" ", "").partition("->")[0].split(","), tensors, strict=True):
            before, dots, after = labels.partition("...")
            named = [*zip(before, tensor.shape, strict=False)]
            named += zip(reversed(after), reversed(tensor.shape), strict=False) if dots else []
            sizes |= named
            if dots:
                middle = tensor.shape[len(before) : tensor.dim() - len(after)]
                sizes["..."] = max(sizes.get("...", 1), prod(middle))
        yield prod(sizes.values()), *tensors
    elif len(tensors) > 2:
        raise NotImplementedError(equation)


def of_attention(output: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Products:
    scores = query[..., 0].numel() * key.shape[-2]
    yield scores * query.shape[-1], query, key
    yield scores * value.shape[-1], key, value


def of_lstm(output: Any, input: Tensor, _: Any, weights: list[Tensor], *__: Any, **___: Any) -> Products:  # noqa: A002
    steps = prod(input.shape[:-1])
    for weight in weights:
        if weight.dim() == 2:
            yield steps * weight.numel(), input, weight


def idle_filters(input: Tensor, weight: Tensor) -> int:  # noqa: A002
    """Count the weights of a convolution, not zero, whose input channel is zero everywhere."""
    groups = input.shape[1] // weight.shape[1]
    zero = (input == 0).flatten(2).all(dim=2).all(dim=0).view(groups, 1, -1)
    nonzero = (weight != 0).flatten(2).sum(dim=2).view(groups, -1, weight.shape[1])
    return int((nonzero * zero).sum())


def idle_columns(input: Tensor, weight: Tensor) -> int:  # noqa: A002
    """Count the weights of a linear layer, not zero, whose input channel is zero for all tokens."""
    return int((weight[:, (input == 0).flatten(0, -2).all(dim=0)] != 0).sum())


def no_idle_weights(*_: Tensor) -> int:
    """Take every weight of another product for one that is needed."""
    return 0


#: Activations that are zero for some negative numbers, if only because they underflow.
SILENT = frozenset({
    F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.hardtanh_,
    F.hardswish, F.hardsigmoid, F.silu, F.gelu, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_,
})  # fmt: skip
IDLE: Mapping[Any, Callable[[Tensor, Tensor], int]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), idle_filters), F.linear: idle_columns,
}  # fmt: skip
COUNTS: Mapping[Any, Callable[..., Products]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), of_convolution),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), of_transposed),
    F.linear: of_linear,
    **dict.fromkeys(
        (torch.matmul, torch.bmm, torch.mm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm), of_product
    ),
    **dict.fromkeys((torch.baddbmm, torch.addmm), of_sum),
    torch.einsum: of_einsum,
    F.scaled_dot_product_attention: of_attention,
    torch._VF.lstm: of_lstm,  # type: ignore[attr-defined]
}


@contextlib.contextmanager
def no_fused_kernels() -> Iterator[None]:
    """Leave out fused kernels of attention layers and of recurrent ones, which hide their products from torch."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


# ---------------------------------------------------------------- the page


INTRODUCTION = """\
# Networks

A scan of {networks} networks of {families} families of timm {version}, checked at 32 x 32 pixels with 10 classes. A
family is the module of `timm.models` that defines the network. Of each family the scan takes its smaller networks, some
of them made shallower by their arguments (`tests/slow/timm_networks.yaml`). {passed} networks can be pruned, and
{failed} are refused in one line before training. This page is written by

    python tests/slow/timm_scan.py

which takes about {minutes} minutes on one core. `tox -e slow -- tests/slow/test_timm_scan.py` runs the same scan as a
test. Each network is checked as `prunebench plan` does, then half of the weights of every prunable layer are pruned by
magnitude. The test verifies for each network, with a count of its own, that every pruned weight is multiplied as a
zero, that no other zero is counted, and that the multiply-accumulate operations (MACs) of the project are those of an
independent count and of torch's `FlopCounterMode`.

## Families

- **Networks**: how many were scanned, and how many of these were refused.
- **Prunable parameters**, **prunable MACs**: the share that can be pruned at granularity `weight`, the least and the
  greatest among the family's networks. The head (the classifier) is excluded by default.
- **Left dense**: the reasons why the rest is not prunable, each with its greatest share of the parameters and of the
  MACs in the family. Biases, normalisation and other vectors, which every network has, are left out of this column.

"""
#: What every network has, and so is left out of the table.
EVERYWHERE = "biases, normalisation and other vectors"


def page(outcomes: list[Outcome]) -> str:
    """Write docs/NETWORKS.md."""
    import timm

    failed = [one for one in outcomes if one.failure is not None]
    families = defaultdict(list)
    for one in outcomes:
        families[one.family].append(one)
    lines = [
        INTRODUCTION.format(
            networks=len(outcomes), families=len(families), version=timm.__version__, failed=len(failed),
            passed=len(outcomes) - len(failed), minutes=20,
        )
        + "| Family | Networks | Prunable parameters | Prunable MACs | Left dense (parameters, MACs) |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_family(name, families[name]) for name in sorted(families)]
    notes = defaultdict(list)
    for one in outcomes:
        for note in one.notes:
            notes[note].append(one.name)
    lines += ["", "## Refused networks", "", "| Network | Arguments | Message |", "|---|---|---|"]
    lines += [
        f"| {one.name} | {_arguments(one)} | {_cell(one.failure or '')} |"
        for one in sorted(failed, key=lambda one: (one.family, one.name))
    ]
    if notes:
        lines += ["", "## Notes", "", "| Networks | Note |", "|---|---|"]
        lines += [f"| {', '.join(names)} | {_cell(note)} |" for note, names in sorted(notes.items())]
    return "\n".join(lines) + "\n"


def _family(name: str, outcomes: list[Outcome]) -> str:
    passed = [one for one in outcomes if one.failure is None]
    dense: dict[str, tuple[float, float]] = {}
    for one in passed:
        for reason, _, parameters, macs in one.dense:
            before = dense.get(reason, (0.0, 0.0))
            dense[reason] = max(before[0], parameters), max(before[1], macs)
    dense.pop(EVERYWHERE, None)
    reasons = "; ".join(
        f"{_cell(reason)} ({percent(parameters)}, {percent(macs)})"
        for reason, (parameters, macs) in sorted(dense.items(), key=lambda item: -max(item[1]))
    )
    refused = f", {len(outcomes) - len(passed)} refused" if len(passed) < len(outcomes) else ""
    shares = [_range([one.prunable[which] for one in passed]) for which in (0, 1)]
    return f"| {name} | {len(outcomes)}{refused} | {shares[0]} | {shares[1]} | {reasons} |"


def _range(shares: list[float]) -> str:
    least, greatest = (percent(which(shares)) for which in (min, max)) if shares else ("", "")
    return least if least == greatest else f"{least.removesuffix(' %')} to {greatest}"


def _arguments(one: Outcome) -> str:
    return ", ".join(f"{key}: {value}" for key, value in NETWORKS[one.family][one.name].items()) or "none"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(results: Path | None) -> None:
    """Scan every network and write the page."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = results.read_text(encoding="utf-8").splitlines() if results is not None and results.exists() else []
    known = {one.name: one for one in map(Outcome.from_json, lines)}
    outcomes = []
    for family, names in NETWORKS.items():
        for name in names:
            if name not in known:
                known[name] = scan(family, name)
                gc.collect()
                if results is not None:
                    with results.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(asdict(known[name])) + "\n")
                print(f"{family} {name} {known[name].seconds:.1f} s", flush=True)
            outcomes.append(known[name])
    PAGE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
