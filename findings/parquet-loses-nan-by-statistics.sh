#!/usr/bin/env bash
# Looking for NaN in a Parquet file finds fewer than are in it, in pyarrow and in DuckDB, and each misses others.
#
# Versions: pyarrow 26.0.1, DuckDB 2.0.0, Polars 2.1.0
# Seen: row groups [1, 2, NaN] and [3, 3, NaN], written by pyarrow. As Parquet has it, minimum and maximum leave NaN
#   out. `is_nan` as a filter of pyarrow's dataset finds 1 of 2, as it takes the second group for the constant 3.
#   DuckDB, to which NaN is larger than any number, finds none above 2 in the first group and none equal to NaN
#   anywhere, while the same queries of the same table in memory find all. Polars finds 2.
# Expected: that pushing a filter into the file makes it faster, and changes nothing.
# Why it matters: NaN is what failed models write. The very query that looks for failures is the one that statistics
#   answer wrongly, and more so the smaller the row groups. Write null for "failed", or count without a filter.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 duckdb==2.0.0 polars==2.1.0

venv/bin/python - <<'PYTHON'
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

NAN = float("nan")
groups = [pa.table({"score": [1.0, 2.0, NAN]}), pa.table({"score": [3.0, 3.0, NAN]})]
with pq.ParquetWriter("scores.parquet", groups[0].schema) as writer:
    for group in groups:
        writer.write_table(group)
table = pa.concat_tables(groups)


def of_duckdb(where):
    duckdb.execute("create or replace table scores as select * from 'scores.parquet'")
    sources = ("'scores.parquet'", "scores")
    return tuple(duckdb.execute(f"select count(*) from {source} where {where}").fetchone()[0] for source in sources)


is_nan = pc.is_nan(pc.field("score"))
seen = {
    "pyarrow, is NaN": (
        pyarrow.dataset.dataset("scores.parquet").to_table(filter=is_nan).num_rows,
        table.filter(is_nan).num_rows,
    ),
    "Polars, is NaN": (
        pl.scan_parquet("scores.parquet").filter(pl.col("score").is_nan()).collect().height,
        pl.read_parquet("scores.parquet").filter(pl.col("score").is_nan()).height,
    ),
    "DuckDB, = 'NaN'": of_duckdb("score = 'NaN'::double"),
    "DuckDB, > 2": of_duckdb("score > 2"),
}
for name, (in_file, in_memory) in seen.items():
    print(f"{name}: {in_file} in the file, {in_memory} in memory")
assert seen["Polars, is NaN"] == (2, 2) and seen["pyarrow, is NaN"] == (1, 2), "this has changed"
assert seen["DuckDB, = 'NaN'"][0] < seen["DuckDB, = 'NaN'"][1], "this has changed"
assert seen["DuckDB, > 2"][0] < seen["DuckDB, > 2"][1], "this has changed"
PYTHON
