"""Rows of an object of the store: JSONL, or CSV where the name ends with .csv; unzipped where it ends with .gz."""

import csv
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from magistral_api.problems import DataFormat, Problem
from magistral_workloads.datasets.formats import FORMATS
from magistral_workloads.datasets.row import LeftOut
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import OBJECT_NOT_FOUND

M = TypeVar("M", bound=BaseModel)

log = logging.getLogger(__name__)


class Problems:
    """The problems of an object, read while this is iterated (once), one row in memory at a time.

    `left_out`: rows so far that are no problem, by reason; also logged at the end. `reason` begins the reasons of the
    UserFault that iteration raises: <reason>NotFound, <reason>Invalid.
    """

    def __init__(self, store: ObjectStore, uri: str, data_format: DataFormat, reason: str) -> None:
        self._at, self._key = store.locate(uri)
        self._format, self._reason = data_format, reason
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Problem]:
        for found in converted(self._at, self._key, self._format, self._reason):
            if isinstance(found, LeftOut):
                self.left_out[found.reason] += 1
            else:
                yield found
        if self.left_out:
            log.warning("%s: %s", self._at.uri(self._key), self.describe())

    def describe(self) -> str:
        """The counts as one clause."""
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self.left_out.most_common())
        return f"{self.left_out.total()} rows left out" + (f" ({reasons})" if reasons else "")


def converted(at: ObjectStore, key: str, data_format: DataFormat, reason: str) -> Iterator[Problem | LeftOut]:
    """What becomes of each row. Raises as `parsed`."""
    found = FORMATS[data_format]
    remedy = f"Correct the line, take it out, or set the format that the file has: found {data_format}"
    for row in parsed(at, key, found.row, reason, remedy):
        yield found.problem(row)


def parsed(at: ObjectStore, key: str, row: type[M], reason: str,
           remedy: str = "Correct the line, or take it out") -> Iterator[M]:
    """The object's rows. Raises UserFault <reason>NotFound or <reason>Invalid, which names object, line and field."""
    lines = Lines(at.stream(key), zipped=key.endswith(".gz"))
    try:
        if key.removesuffix(".gz").endswith(".csv"):
            for record in csv.DictReader(lines.text(), strict=True):
                yield row.model_validate(record)
        else:
            for line in lines:
                if line.strip():
                    yield row.model_validate_json(line)
    except StorageError as error:
        if error.reason != OBJECT_NOT_FOUND:
            raise
        raise UserFault(f"{reason}NotFound", f"{error.message}; expected rows of {row.__name__}. Upload it") from None
    except (ValidationError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise UserFault(f"{reason}Invalid", f"{at.uri(key)} line {lines.number}: {_told(error)}; expected "
                        f"{row.__name__}. {remedy}") from None


class Lines:
    """Lines of an object; `number` is that of the last one given, from 1."""

    def __init__(self, chunks: Iterable[bytes], *, zipped: bool) -> None:
        self._chunks = _unzipped(chunks) if zipped else chunks
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        # A line may have a hundred megabytes, so its pieces are joined once.
        pieces: list[bytes] = []
        for chunk in self._chunks:
            first, *others = chunk.split(b"\n")
            pieces.append(first)
            for other in others:
                self.number += 1
                yield b"".join(pieces)
                pieces = [other]
        if any(pieces):
            self.number += 1
            yield b"".join(pieces)

    def text(self) -> Iterator[str]:
        """As the csv module wants them: with their ends. Spreadsheets write a mark before the first."""
        for line in self:
            yield line.decode("utf-8-sig" if self.number == 1 else "utf-8") + "\n"


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Of one gzip member or several in a row. Raises zlib.error, also when the last one is cut off."""
    decoder = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        rest = chunk
        while rest:
            if decoder.eof:
                decoder = zlib.decompressobj(wbits=31)
            yield decoder.decompress(rest)
            rest = decoder.unused_data
    if not decoder.eof:
        raise zlib.error("the gzip data is cut off")


def _told(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"field {'.'.join(map(str, first['loc'])) or '(whole line)'}: {first['msg']}"
