"""Every scorer on the published CIFAR-10 ResNets: a smoke test, no result.

A thousand test images and searches of 30 x 2 candidates on 500 images show that nothing fails, and no more.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.plugins.catalogue import make_registry
from bench.store.reader import read_database

pytestmark = pytest.mark.slow

DEPTHS = (20, 32, 44, 56)
STUDY = """\
name: cifar10-smoke
data:
  - {{name: "parquet:{images}", label: cifar10, calibration: 1024, search: 500}}
models:
{models}
calibration: {{images: 256, batch: 128}}
granularities: [weight, channel]
scorers: [{scorers}]
searches:
  - equal
  - {{name: dbo, evaluations: 60}}
  - {{name: cma, evaluations: 60}}
  - {{name: random_search, evaluations: 60}}
sparsities: [0.5, 0.6, 0.7, 0.8, 0.9]
execution: {{memory_format: channels_last, batch: 100}}
exclude:
  - name: channels only on ResNet-20
    where: {{granularity: channel, model: {{not: cifar_resnet20}}}}
  - name: searches at one sparsity
    where: {{search: [dbo, cma, random_search], sparsity: {{not: 0.7}}}}
  - name: on the larger nets one scorer is searched
    where: {{search: [dbo, cma, random_search], scorer: {{not: v1}}, model: {{not: cifar_resnet20}}}}
  - name: on ResNet-20 one scorer is searched by all three
    where: {{search: [cma, random_search], scorer: {{not: v1}}}}
"""
MODEL = """\
  - name: cifar_resnet{depth}
    checkpoint: ${{PRUNEBENCH_DATA}}/weights/resnet{depth}-cifar10-akamaster.safetensors
    normalisation: {{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
    train_overlap: "yes"
"""


@pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
def test_no_scorer_fails_on_a_published_resnet(tmp_path: Path, run_command) -> None:
    source = Path(os.environ["PRUNEBENCH_DATA"]) / "cifar10"
    images = tmp_path / "images"
    images.mkdir()
    for part, rows in (("train", 2000), ("test", 1000)):
        first = min(source.glob(f"{part}-*.parquet"))
        pq.write_table(pq.read_table(first).slice(0, rows), images / f"{part}-00000-of-00001.parquet")
    names = make_registry().names("scorer")
    folder = tmp_path / "smoke"
    folder.mkdir()
    models = "".join(MODEL.format(depth=depth) for depth in DEPTHS)
    (folder / "study.yaml").write_text(STUDY.format(images=images, models=models, scorers=", ".join(names)))
    done = run_command("run", folder)
    assert done.returncode == 0, done.stdout[-3000:]
    rows = read_database(folder).rows
    assert set(rows["state"]) == {"done", "skipped"}
    assert rows.loc[rows["state"].eq("skipped"), "reason"].notna().all()
    cells = Counter(rows.loc[rows["state"].eq("done"), "scorer"])
    sparsities = 5
    assert set(cells) == {*names, "dense"}
    assert all(count >= sparsities for name, count in cells.items() if name != "dense"), cells
    dense = rows[rows["scorer"].eq("dense")]
    assert dense["accuracy"].min() > 0.88  # 1,000 images; the published accuracies are 91.7 to 93.4 %
