#!/usr/bin/env bash
# Embeddings of float16 come back as arrays, as lists of float32, as raw bytes, or not at all, by who reads the Parquet file.
#
# Versions: pyarrow 26.0.1, Polars 2.1.0, DuckDB 2.0.0, fastparquet 2026.9.0, pandas 3.1.1, NumPy 2.4.6
# Seen: one column of fixed-size lists of four float16, written by pyarrow. Polars gives arrays of float16 of width 4.
#   DuckDB gives FLOAT lists of any length, and refuses the very same table when it is handed over in memory instead.
#   fastparquet gives lists of two raw bytes a value, without a warning. pyarrow itself has no sum of float16.
# Expected: that a type of the standard comes back as numbers or as an error; and that DuckDB takes from memory what
#   it takes from a file.
# Why it matters: half the size is why vectors are kept so. A column of bytes goes through a pipeline until something
#   computes with it, and whoever tests with files meets the error only where tables are passed in memory.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.0 fastparquet==2026.9.0 pandas==3.1.1 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import duckdb
import fastparquet
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

values = pa.array(np.arange(8, dtype=np.float16))
table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(values, 4)})
pq.write_table(table, "vectors.parquet")


def attempt(work):
    try:
        return str(work())
    except (duckdb.Error, pa.ArrowException) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


seen = {
    "Polars": attempt(lambda: pl.read_parquet("vectors.parquet").schema["vector"]),
    "DuckDB, file": attempt(lambda: duckdb.execute("select typeof(vector), vector from 'vectors.parquet'").fetchone()),
    "DuckDB, table": attempt(lambda: duckdb.from_arrow(table).fetchall()),
    "fastparquet": attempt(lambda: list(fastparquet.ParquetFile("vectors.parquet").to_pandas()["vector"][0])),
    "pyarrow, sum": attempt(lambda: pc.sum(values)),
}
for reader, what in seen.items():
    print(f"{reader}: {what}")
assert "Float16" in seen["Polars"] and "FLOAT[]" in seen["DuckDB, file"], "this has changed"
assert "Unsupported" in seen["DuckDB, table"] and "b'" in seen["fastparquet"], "this has changed"
assert "no kernel" in seen["pyarrow, sum"], "this has changed"
PYTHON
