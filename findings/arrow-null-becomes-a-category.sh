#!/usr/bin/env bash
# A missing value in a categorical column becomes one of its categories on the way from a pyarrow table to NumPy.
#
# Versions: pyarrow 26.0.1, NumPy 2.4.6
# Seen: ["pass", null, "reject"] as a dictionary-encoded column. As an Array, `to_numpy` gives "pass", None, "reject".
#   As a column of a table, which is a ChunkedArray, the same call gives "pass", "reject", "reject": the null's index
#   of -1 counts from the end of the categories.
# Expected: None both times; at the least an error.
# Why it matters: a row that was not judged is silently judged. Whatever hands table columns to NumPy inherits it.
#   Cast such columns to strings first, or go by way of `to_pandas` or `to_pylist`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import pyarrow as pa

array = pa.array(["pass", None, "reject"]).dictionary_encode()
column = pa.table({"verdict": array})["verdict"]
of_array, of_column = array.to_numpy(zero_copy_only=False).tolist(), column.to_numpy().tolist()
print("array ", of_array)
print("column", of_column, "- null_count", column.null_count, "- to_pylist", column.to_pylist())
assert of_array == column.to_pylist() == ["pass", None, "reject"], "this has changed"
assert of_column == ["pass", "reject", "reject"], "this has changed"
PYTHON
