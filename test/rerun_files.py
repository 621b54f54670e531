"""What a file of Rerun holds, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def rows_of(file: Path, blueprint: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Return what was logged to each entity, in order; times are whole nanoseconds.

    Of the layout instead of the recording, with ``blueprint``.
    """
    from rerun.chunk import RrdReader

    reader = RrdReader(file)
    [store] = reader.blueprints() if blueprint else reader.recordings()
    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in reader.stream(store=store):
        batch = chunk.to_record_batch()
        columns = {
            field.name: (
                column.cast("int64") if str(field.type).startswith("timestamp") else column
            ).to_pylist()
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
        rows = found.setdefault(chunk.entity_path.lstrip("/"), [])
        rows += [{name: c[k] for name, c in columns.items()} for k in range(batch.num_rows)]
    return found
