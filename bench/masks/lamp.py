"""LAMP's layer counts: one threshold on the LAMP scores of all layers (Lee et al. 2021; METHODS section 4)."""

from __future__ import annotations

from bench.masks.budget import Budget
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.view import ModelView
from bench.scorers.lamp import lamp_scores


def lamp(units: UnitSpace, scores: ScoreMap, sparsity: float | None, view: ModelView) -> Budget:
    """Keep of each layer as many units as are among the best LAMP scores of the model.

    The LAMP scores are those of the weights' magnitudes, or of the filters' L2 norms, whatever the scorer:
    they decide only how many units a layer keeps, and the scorer which. Units at the threshold are ordered
    as any equal scores are. The one largest unit of a layer scores 1, the most there is, so a budget of
    one unit per layer or more empties no layer (but where several units are largest they share that 1).

    Examples
    --------
    >>> import torch
    >>> from bench.models.units import find_units
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[8.0, 7.0], [6.0, 5.0]]))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[0.1, 0.2]]))
    >>> units = find_units(net, "weight", (), torch.zeros(1, 2))
    >>> lamp(units, None, 0.5, ModelView(net, units)).keep
    tensor([2, 1])
    """
    lamps = {}
    for name in units.names:
        lamps[name] = lamp_scores(view.weight(name) if units.granularity == "weight" else view.rows(name).norm(dim=1))
    order = keep_order(units, ScoreMap(lamps), view.magnitudes())
    layer = units.layer_index()
    best = order[: keep_count(units.total, sparsity)].cpu()
    return Budget(layer, layer[best].bincount(minlength=len(units.layers)))
