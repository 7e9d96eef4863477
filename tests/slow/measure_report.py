"""Time and memory of the analysis on a study of about 100,000 rows: ``python tests/slow/measure_report.py [ROWS]``.

The bounds are 60 s and 2 GiB for the report, imports included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from analysis.evidence.load import write_additional, write_parquet  # noqa: E402
from tests.analysis.conftest import synthetic, with_features  # noqa: E402

#: Rows of one seed of the study below.
PER_SEED = 2568


def main() -> None:
    """Make the study, run each reading command on it in a process of its own, print what it took."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    data = with_features(
        synthetic(
            models=("cnn", "vit", "resnet", "mixer"), seeds=max(2, round(rows / PER_SEED)),
            sparsities=(0.5, 0.6, 0.7, 0.8, 0.9),
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "report").mkdir()
        (folder / "claims.yaml").write_text("version: 2\ninclude: [sics, asr, emp]\n")
        write_parquet(data, folder / "report" / "data.parquet")
        write_additional(data, "curves", folder / "report" / "curves.parquet")
        print(f"{len(data.rows):,} rows")
        for command in ("report", "claims", "power"):
            start = time.perf_counter()
            words = [sys.executable, "-m", "prunebench", command, str(folder)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"{command}: {time.perf_counter() - start:.1f} s, peak so far {peak:.2f} GiB")


if __name__ == "__main__":
    main()
