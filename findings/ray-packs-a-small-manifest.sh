#!/usr/bin/env bash
# `read_parquet(override_num_blocks=20)` gives one block.
#
# Versions: Ray 2.60.0 (Ray Data), pyarrow 26.0.1, pandas 3.1.1
# Seen: a list of 200 URIs. Read from CSV with `override_num_blocks=20` it has 20 blocks. Read from Parquet with the
#   same argument it has one, with one row group or with twenty.
# Expected: what the name says, and what every other reader does.
# Why it matters: a manifest is small and its rows are expensive: one block means one worker that does all videos in
#   turn while the cluster waits, and one crash that takes all rows with it. Check `num_blocks()`, or `repartition`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "ray[data]==2.60.0" pyarrow==26.0.1 pandas==3.1.1
export RAY_USAGE_STATS_ENABLED=0

venv/bin/python - <<'PYTHON' 2>log
import os

import pandas as pd
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=os.path.abspath("ray"))
ray.data.DataContext.get_current().enable_progress_bars = False
manifest = pd.DataFrame({"uri": [f"s3://videos/{number}.mp4" for number in range(200)]})
manifest.to_csv("manifest.csv", index=False)
manifest.to_parquet("one-group.parquet")
manifest.to_parquet("many-groups.parquet", row_group_size=10)
datasets = {
    "manifest.csv": ray.data.read_csv("manifest.csv", override_num_blocks=20),
    "one-group.parquet": ray.data.read_parquet("one-group.parquet", override_num_blocks=20),
    "many-groups.parquet": ray.data.read_parquet("many-groups.parquet", override_num_blocks=20),
}
seen = {name: dataset.materialize().num_blocks() for name, dataset in datasets.items()}
ray.shutdown()
print("blocks:", seen)
assert seen == {"manifest.csv": 20, "one-group.parquet": 1, "many-groups.parquet": 1}, "this has changed"
PYTHON
