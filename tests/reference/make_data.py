"""Write data.json, the samples on which R and this package are compared. Run once; the file is kept, not this stream.

Usage: ``python tests/reference/make_data.py``, then regenerate.py with ``--write``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20260611
IMAGES = 400
SPARSITIES = (0.5, 0.6, 0.7, 0.8)
#: Cells left out of the mixed-model data, as (model, sparsity, class): it is unbalanced as failed cells make it.
MISSING = ((1, 0.8, "v1"), (3, 0.5, "a5"), (3, 0.6, "a5"), (6, 0.7, "v1"), (9, 0.8, "a5"), (11, 0.5, "v1"))


def main() -> None:
    """Draw every sample and write them beside this file."""
    rng = np.random.default_rng(SEED)
    data = {
        "differences": differences(rng),
        "bootstrap": {
            "normal10": rounded(rng.normal(0.01, 0.02, 10)),
            "skewed20": rounded(rng.lognormal(-4, 0.8, 20)),
        },
        "margin": 0.02,
        "null": 0.005,
        "tables": tables(rng),
        "images": images(rng),
        "p_values": [0.011, 0.02, 0.004, 0.3, 0.024],
        "p_values_tied": [0.01, 0.04, 0.01, 0.04, 0.9],
        "curves": curves(rng),
        "mixed": mixed(rng),
    }
    lines = ",\n".join(f"{json.dumps(topic)}: {json.dumps(samples)}" for topic, samples in data.items())
    Path(__file__).with_name("data.json").write_text(f"{{\n{lines}\n}}\n")


def differences(rng: np.random.Generator) -> dict[str, list[float]]:
    """Paired differences of n models, as fractions: continuous, in whole images with ties and zeros, skewed, small."""
    samples = {f"normal{n}": rounded(rng.normal(0.012, 0.02, n)) for n in (3, 5, 6, 10, 20, 25)}
    samples["ties10"] = [k / IMAGES for k in (3, -1, 0, 2, 2, 5, -3, 0, 1, 4)]
    samples["ties20"] = (rng.integers(-4, 7, 20) / IMAGES).tolist()
    samples["ties25"] = (rng.integers(-4, 7, 25) / IMAGES).tolist()
    samples["skewed10"] = rounded(rng.lognormal(-5, 1.2, 10) - 0.004)
    samples["small10"] = rounded(rng.normal(0.001, 0.008, 10))
    samples["negative6"] = rounded(rng.normal(-0.02, 0.01, 6))
    return samples


def tables(rng: np.random.Generator) -> dict[str, list[list[float]]]:
    """Tables of blocks (rows) by treatments (columns); higher is better."""
    base = rng.normal(0.6, 0.05, (10, 1))
    later = np.random.default_rng([SEED, 1])  # added later, so of another stream
    return {
        "plain": rounded(base + rng.normal(0, 0.02, (10, 5)) + np.array([0.03, 0.01, 0.0, 0.0, -0.02])),
        "tied": (rng.integers(0, 4, (8, 4)) / 4).tolist(),
        "half_rank": [[0.5, 0.5, 0.75], [0.25, 0.5, 0.75], [0.5, 0.25, 0.75], [0.25, 0.75, 0.5]],
        "ordered": rounded(rng.normal(0.5, 0.03, (4, 3)) + np.array([0, 0.01, 0.03])),
        "ordered4": rounded(rng.normal(0.5, 0.03, (3, 4)) + np.array([0, 0.01, 0.03, 0.03])),
        "ordered_large": rounded(rng.normal(0.5, 0.03, (10, 5)) + 0.008 * np.arange(5)),
        "hypotheses": rounded(rng.normal(0, 0.02, (8, 4)) + rng.normal(0, 0.015, (8, 1)) + [0.0, 0.01, 0.02, -0.01]),
        "ordered_many": rounded(rng.normal(0.5, 0.03, (21, 4)) + 0.006 * np.arange(4)),
        "settings": rounded(0.6 + rng.normal(0, 0.1, (10, 3)) + np.array([0, 0.1, -0.1])),
        "ordered_wide": (later.integers(0, 6, (12, 9)) / 20 + 0.05 * (np.arange(9) > 5)).round(2).tolist(),
    }


def images(rng: np.random.Generator) -> dict[str, Any]:
    """Correctness of single test images: of two masks of one model, and of several models with two masks each."""
    hard = rng.normal(0, 1, 150)
    skill = rng.normal(0.6, 0.2, (6, 1))
    first = hard + rng.normal(0, 0.7, (6, 150)) < skill
    second = hard + rng.normal(0, 0.7, (6, 150)) < skill - 0.25
    return {
        "one": {"first": first[0].astype(int).tolist(), "second": second[0].astype(int).tolist()},
        "few": {"first": [1, 1, 1, 0, 1, 0, 0, 1], "second": [1, 0, 0, 1, 0, 0, 0, 0]},
        "models": {"first": first.astype(int).tolist(), "second": second.astype(int).tolist()},
    }


def curves(rng: np.random.Generator) -> dict[str, list[float]]:
    """A curve for isotonic regression (x sorted), and scores in the order of magnitude, with ties."""
    x = np.linspace(0.5, 0.9, 12)
    return {
        "x": rounded(x),
        "y": rounded(0.3 * x + rng.normal(0, 0.05, 12)),
        "tied": (rng.integers(0, 6, 30) / 2).tolist(),
    }


def mixed(rng: np.random.Generator) -> dict[str, list[Any]]:
    """Differences of 12 models of two architectures at four sparsities for two scorer classes, some missing.

    ``family`` splits the same models among six architectures. ``difference`` has variance in every random term. In
    ``boundary`` the mean over sparsities is the same for every model and class, up to the model's own part, so that
    the variance of model x class is estimated as zero.
    """
    shape = (12, len(SPARSITIES), 2)
    slope = np.array([0.10, -0.05]) * (np.array(SPARSITIES)[:, None] - 0.65)
    model = rng.normal(0, 0.03, (12, 1, 1)) + np.repeat([0.0, 0.02], 6)[:, None, None]
    noise = rng.normal(0, 0.01, shape)
    full = 0.01 + slope + model + rng.normal(0, 0.012, (12, 1, 2)) + rng.normal(0, 0.012, (12, 4, 1)) + noise
    level = noise - noise.mean(axis=1, keepdims=True)
    boundary = 0.01 + slope + model + level + rng.normal(0, 0.012, (12, 4, 1))
    rows: dict[str, list[Any]] = {
        name: [] for name in ("architecture", "family", "model", "sparsity", "class", "difference", "boundary")
    }
    for m in range(12):
        for s, sparsity in enumerate(SPARSITIES):
            for c, name in enumerate(("a5", "v1")):
                if (m, sparsity, name) in MISSING:
                    continue
                places = ("cnn" if m < 6 else "vit", f"f{m // 2}", f"m{m:02}", sparsity, name)
                values = (*places, rounded(full[m, s, c]), rounded(boundary[m, s, c]))
                for key, value in zip(rows, values, strict=True):
                    rows[key].append(value)
    return rows


def rounded(values: Any) -> Any:
    """Six digits, which both languages read alike."""
    return np.round(values, 6).tolist()


if __name__ == "__main__":
    main()
