"""Lines of an object in the store as models."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from magistral_api.base import ApiModel
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import OBJECT_NOT_FOUND

M = TypeVar("M", bound=ApiModel)


def parsed(at: ObjectStore, key: str, row: type[M], reason: str) -> Iterator[M]:
    """The object's lines. Raises UserFault <reason>NotFound or <reason>Invalid, which names object, line and field."""
    number = 0
    try:
        for line in _lines(at.stream(key)):
            number += 1
            if line.strip():
                yield row.model_validate_json(line)
    except StorageError as error:
        if error.reason != OBJECT_NOT_FOUND:
            raise
        raise UserFault(f"{reason}NotFound", f"{error.message}; expected JSONL of {row.__name__}. Upload it") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise UserFault(f"{reason}Invalid", f"{at.uri(key)} line {number}: field "
                        f"{'.'.join(map(str, first['loc'])) or '(whole line)'}: {first['msg']}; expected "
                        f"{row.__name__}. Correct the line, or take it out") from None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
