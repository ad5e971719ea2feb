"""Tables in Parquet files, whose cells have types."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molvae.data.cells import place_of
from molvae.errors import DataError

if TYPE_CHECKING:  # pandas and pyarrow wait inside the functions that need them: worker processes load this module
    import pandas as pd


def parquet_cells(path: Path, column: str | None, others: Sequence[str]) -> Iterator[list[str]]:
    """Row by row the SMILES and the cells of other columns, as text; "" where there is nothing.

    Raises:
        DataError: a damaged file, no rows, or one of the columns is not there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                raise DataError(f"{path} is empty: it has no rows")
            stored = list(file.schema_arrow.names)
            names = [name.strip() for name in stored]
            wanted = [stored[place_of(path, names, column)], *(stored[place_of(path, names, name)] for name in others)]
            for batch in file.iter_batches(batch_size=10_000, columns=list(dict.fromkeys(wanted))):
                for values in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
                    yield ["" if value is None or value != value else str(value) for value in values]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_parquet(path: Path) -> "pd.DataFrame":
    """All columns but an index without a name; whole numbers stay whole where some are missing.

    Raises:
        DataError: a damaged file, or no rows.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole: dict[Any, Any] = {getattr(pa, f"int{bits}")(): getattr(pd, f"Int{bits}Dtype")() for bits in (8, 16, 32, 64)}
    whole |= {getattr(pa, f"uint{bits}")(): getattr(pd, f"UInt{bits}Dtype")() for bits in (8, 16, 32, 64)}
    whole[pa.bool_()] = pd.BooleanDtype()
    try:
        table = pq.ParquetFile(path).read().replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not table.num_rows:
        raise DataError(f"{path} is empty: it has no rows")
    table = table.rename_columns([name.strip() for name in table.column_names])
    table = table.select([k for k, name in enumerate(table.column_names) if not name.startswith("__index_level_")])
    frame: pd.DataFrame = table.to_pandas(types_mapper=whole.get)
    return frame
