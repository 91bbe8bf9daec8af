"""Text in rows and columns: files with a header line, whatever mark stands between the cells."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from clearmargin.errors import SourceError
from clearmargin.sources.container import damaged, quoted

EXTENSIONS = frozenset({".csv", ".tsv", ".txt"})
DELIMITERS = (",", ";", "\t")
LARGEST_BYTES = 1 << 30
LONGEST_HEADER = 2**20
MOST_ROWS = 2_000_000
_QUOTE = 'A quote (") that is opened must be closed again; a quote inside a cell is written twice.'


def is_delimited(path: Path) -> bool:
    """Whether the name says that the file is a table of text."""
    return path.suffix.lower() in EXTENSIONS


def find_delimiter(first_line: str, known: Callable[[list[str]], int]) -> str:
    """The mark under which the first line has the most ``known`` columns; among equals, the most columns."""
    headers = {mark: next(csv.reader([first_line], delimiter=mark), []) for mark in DELIMITERS}
    return max(DELIMITERS, key=lambda mark: (known(headers[mark]), len(headers[mark])))


def read_rows(
    path: Path, columns: frozenset[str] = frozenset(), *, encoding_errors: str = "strict"
) -> tuple[list[str], list[list[str]]]:
    """Column names, without blanks around them, and rows of a file, as text; blank lines do not count.

    Parameters
    ----------
    columns
        Names that are expected: they tell a delimiter from a mark within a name.
    encoding_errors
        ``surrogatepass`` for a table that `clearmargin.files.write_table` wrote, whose names may not be Unicode.

    Raises
    ------
    SourceError
        When the file is missing or no such table: a row of another width, a quote that is not closed, not UTF-8.
    """
    _check_file(path)
    try:
        with path.open(encoding="utf-8-sig", errors=encoding_errors, newline="") as file:
            first = file.readline(LONGEST_HEADER)
            delimiter = find_delimiter(first, lambda header: len(columns.intersection(map(str.strip, header))))
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            rows = list(_whole_rows(reader, len(header), path))
    except UnicodeError as error:
        raise SourceError(f"The table {path} is not UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'.") from error
    except csv.Error as error:
        if "field larger" in str(error):  # the rest of the file was taken for one cell
            raise SourceError(f"The table {path} has a cell that does not end: {error}. {_QUOTE}") from error
        raise damaged(path, error) from error
    except OSError as error:
        raise damaged(path, error) from error
    if header and not rows and any("\n" in name or "\r" in name for name in header):
        raise SourceError(f"The header of the table {path} takes in all lines of the file. {_QUOTE}")
    if not header or not rows:
        raise SourceError(f"The table {path} is empty: expected a line of column names and rows below it.")
    return [name.strip() for name in header], rows


def place_columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Where each column is that has a name.

    Raises
    ------
    SourceError
        When two have the same name.
    """
    place = {name: number for number, name in enumerate(header) if name}
    twins = sorted({name for name in place if header.count(name) > 1})
    if twins:
        raise SourceError(f"The table {path} has several columns called {quoted(twins)}: give each its own name.")
    return place


def require_column(name: str, columns: Iterable[str], path: Path, setting: str) -> None:
    """Refuse a name that no column has, and say which is the nearest.

    Raises
    ------
    SourceError
    """
    names = list(columns)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    same = [known for known in names if known.casefold() == name.casefold()]
    hint = f" Did you mean {(same or near)[0]!r}?" if same or near else ""
    raise SourceError(f"The table {path} has no column {name!r} ({setting}); it has {quoted(names, limit=30)}.{hint}")


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"There is no file {path}.") from error
    except OSError as error:
        raise damaged(path, error) from error
    if not path.is_file() or not is_delimited(path):
        raise SourceError(f"{path} is not a table: expected a .csv, .tsv or .txt file whose first line names columns.")
    if size > LARGEST_BYTES:
        raise SourceError(f"{path} has more than {LARGEST_BYTES:,} bytes: too large for a table that is read at once.")


def _whole_rows(reader: Iterator[list[str]], width: int, path: Path) -> Iterator[list[str]]:
    filled = (row for row in reader if any(cell.strip() for cell in row))
    for number, row in enumerate(filled, start=1):
        if len(row) != width:
            over_lines = any("\n" in cell for cell in row)
            marks = "Put cells that contain the delimiter in double quotes; write gaps as empty cells."
            raise SourceError(
                f"Row {number} of the table {path} has {len(row)} cells, the header {width}. "
                + (_QUOTE if over_lines else marks)
            )
        if number > MOST_ROWS:
            raise SourceError(f"The table {path} has more than {MOST_ROWS:,} rows.")
        yield row
