"""`s3://bucket/key` as a value."""

from dataclasses import dataclass

_SCHEME = "s3://"


@dataclass(frozen=True)
class ObjectAt:
    """An object or, when used as a prefix, everything below `key/`. `key` has no slash at either end."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "ObjectAt":
        """Raises ValueError when `uri` is no `s3://bucket/key`."""
        bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
        key = key.strip("/")
        if not uri.startswith(_SCHEME) or not bucket or not key:
            raise ValueError(f"{uri!r} is no object address; expected s3://bucket/key")
        return cls(bucket, key)

    def __truediv__(self, name: str) -> "ObjectAt":
        return ObjectAt(self.bucket, f"{self.key}/{name}")

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}"
