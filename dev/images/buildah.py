"""Without a Docker engine: a Debian base from mmdebstrap, the same Dockerfiles through buildah, an OCI layout as result."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from dev.cluster.binaries import ensure
from dev.cluster.paths import cache
from dev.images.catalog import STORE, Image, content_hash
from dev.images.oci import Layout
from dev.kubectl import ROOT

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_CERTIFICATES = "/run/build-certificates.crt"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
DEBIAN_PACKAGES = ("mmdebstrap", "buildah")

Say = Callable[[str], None]


class BuildFailed(RuntimeError):
    """A build step ended with an error; the message has the command and the end of its output."""


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a build step; returns its output. Raises BuildFailed."""
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          stdin=subprocess.DEVNULL, env=os.environ | environment)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise BuildFailed(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{tail}")
    return done.stdout


def layout() -> Layout:
    return Layout(cache() / "images")


def buildah(*arguments: str) -> tuple[str, ...]:
    """The command, in a mount namespace of its own: what it mounts ends with it."""
    folder = cache() / "images" / "buildah"
    return ("unshare", "--mount", "--propagation", "private", "buildah", "--storage-driver", "overlay",
            "--root", str(folder / "root"), "--runroot", str(folder / "run"), *arguments)


def prepare(say: Say) -> None:
    """Install the builders when they are missing."""
    if any(shutil.which(name) is None for name in DEBIAN_PACKAGES):
        say(f"installing {', '.join(DEBIAN_PACKAGES)} (Debian packages)")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", *DEBIAN_PACKAGES, DEBIAN_FRONTEND="noninteractive")
    (cache() / "images" / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)


def base(say: Say) -> str:
    """Debian with Python, as a local image. Built once."""
    reference = f"localhost/magistral/base:{content_hash([Path(__file__)])}"
    if _known(reference):
        return reference
    say("base image from Debian packages (about 25 s)")
    with tempfile.TemporaryDirectory() as folder:
        run("mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "bookworm", f"{folder}/base.tar")
        (Path(folder) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        run(*buildah("bud", "--isolation", "chroot", "-t", reference, folder))
    return reference


def build(image: Image, base_image: Callable[[], str], say: Say) -> bool:
    """Bring one image up to date in the layout. Returns False when there was nothing to do."""
    dependencies = f"localhost/magistral/{image.name}-dependencies:{image.dependencies_hash()}"
    code = f"localhost/magistral/{image.name}-code:{image.code_hash()}"
    joined = f"{dependencies}+{code}"
    names = layout().names()
    stamp = cache() / "images" / f"{image.name}.joined"
    if image.reference in names and stamp.exists() and stamp.read_text() == joined:
        return False
    if dependencies not in names:
        say(f"{image.name}: dependencies")
        _stage(image, "dependencies", dependencies, base_image())
    if code not in names:
        say(f"{image.name}: our code")
        _stage(image, "code", code, base_image())
    layout().join(dependencies, code, image.reference)
    stamp.write_text(joined)
    return True


def store(say: Say) -> bool:
    """The demo's object store: one static binary. Returns False when there was nothing to do."""
    binary = ensure(["minio"])["minio"]
    stamp = cache() / "images" / "store.joined"
    if STORE in layout().names() and stamp.exists() and stamp.read_text() == str(binary):
        return False
    say("store")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(binary, f"{folder}/minio")
        run(*buildah("bud", "--isolation", "chroot", "-f", str(ROOT / "images/store/Dockerfile"), "-t", STORE, folder))
    _export(STORE)
    stamp.write_text(str(binary))
    return True


def _stage(image: Image, target: str, reference: str, base_image: str) -> None:
    wheels = Path.home() / ".cache" / "uv"
    wheels.mkdir(parents=True, exist_ok=True)
    certificates = (["--build-arg", f"SSL_CERT_FILE={BUILD_CERTIFICATES}", "-v", f"{CERTIFICATES}:{BUILD_CERTIFICATES}:ro"]
                    if CERTIFICATES.exists() else [])
    run(*buildah("bud", "--layers", "--isolation", "chroot", "--build-arg", f"BASE_IMAGE={base_image}", *certificates,
        "-v", f"{wheels}:/root/.cache/uv", "--target", target, "-f", str(image.dockerfile), "-t", reference, "."))
    _export(reference)


def _export(reference: str) -> None:
    run(*buildah("push", reference, f"oci:{layout().folder}:{reference}"))


def _known(reference: str) -> bool:
    return subprocess.run(buildah("inspect", "--type", "image", reference), capture_output=True, check=False).returncode == 0
