"""What pruning took from the variance of a network's channels, and where a correction gave back too much."""

from __future__ import annotations

from collections.abc import Mapping

from bench.repairs.correction import Variances
from bench.repairs.statistics import Moments

#: A live channel has nearly collapsed below, and is healthy from, these shares of its dense variance.
COLLAPSED, HEALTHY = 0.05, 0.5
#: A variance is above the dense one if it exceeds it by more than this share (ours).
EXCESS = 1e-3


def channel_changes(
    dense: Mapping[str, Moments], pruned: Mapping[str, Moments], corrected: Mapping[str, Moments]
) -> dict[str, int | float | None]:
    """Compare the output variances of the dense, the masked and the corrected model, v_d, v_p and v_c.

    Channels that do not vary in the dense model, or of which v_d or v_p is not a number, are left out.

    Parameters
    ----------
    dense, pruned, corrected : mapping of str to Moments
        Layer name -> moments on the same draw.

    Returns
    -------
    dict
        ``layers``, ``channels`` and, of these, ``live`` (not dead as the corrections understand it);
        ``collapsed`` (live, v_p < 0.05 v_d), ``healthy`` (live, v_p >= 0.5 v_d), ``mixed_layers`` (that have
        both); ``loss``: mean over channels, dead ones too, of 1 - v_p / v_d within [0, 1], None without any;
        ``above_before`` and ``above_after``: channels with v_p or v_c > 1.001 v_d.

    Examples
    --------
    >>> import torch
    >>> v_d, v_p, v_c = ({"conv": Moments.of(torch.tensor([[-1.0] * 4, [1.0] * 4]) * torch.tensor(scale))}
    ...                  for scale in ([1.0, 1.0, 2.0, 0.0], [0.1, 0.8, 0.0, 3.0], [1.0, 1.1, 0.0, 0.0]))
    >>> changes = channel_changes(v_d, v_p, v_c)
    >>> [changes[name] for name in ("channels", "live", "collapsed", "healthy", "mixed_layers")]
    [3, 2, 1, 1, 1]
    >>> round(changes["loss"], 3), changes["above_before"], changes["above_after"]  # (0.99 + 0.36 + 1) / 3
    (0.783, 0, 1)
    """
    counts = dict.fromkeys(
        ("layers", "channels", "live", "collapsed", "healthy", "mixed_layers", "above_before", "above_after"), 0
    )
    loss = 0.0
    for name, moments in dense.items():
        variances = Variances(moments.variance, pruned[name].variance)
        known = variances.finite & (variances.dense > 0)
        live = variances.live & known
        collapsed = live & (variances.pruned < COLLAPSED * variances.dense)
        healthy = live & (variances.pruned >= HEALTHY * variances.dense)
        above = (1 + EXCESS) * variances.dense
        found = {
            "channels": known, "live": live, "collapsed": collapsed, "healthy": healthy,
            "above_before": known & (variances.pruned > above),
            "above_after": known & (corrected[name].variance > above),
        }  # fmt: skip
        for key, channels in found.items():
            counts[key] += int(channels.sum())
        counts["layers"] += 1
        counts["mixed_layers"] += int(bool(collapsed.any() and healthy.any()))
        loss += float((1 - variances.pruned / variances.dense)[known].clamp(0, 1).sum())
    return {**counts, "loss": loss / counts["channels"] if counts["channels"] else None}
