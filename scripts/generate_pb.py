"""Generate src/rls/proto from protos/, or say with --check whether it is up to date.

protoc names Python modules by the path of the .proto file: those in protos/rls/proto become modules of rls.proto.
"""

import argparse
import difflib
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "src" / "rls" / "proto"


def generate() -> dict[str, str]:
    """The text of each generated file by its name."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", f"--proto_path={PROTOS}", f"--proto_path={files('grpc_tools') / '_proto'}"]
        arguments += [f"--python_out={folder}", f"--pyi_out={folder}", *map(str, PROTOS.rglob("*.proto"))]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")
        return read(Path(folder) / "rls" / "proto")


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.glob("*_pb2.py*")}


def write(wanted: dict[str, str]) -> None:
    for name in read(TARGET).keys() - wanted.keys():
        (TARGET / name).unlink()
    for name, text in wanted.items():
        (TARGET / name).write_text(text, "utf-8")


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for name in sorted(wanted.keys() | found.keys()):
        old, new = (texts.get(name, "").splitlines() for texts in (found, wanted))
        lines += difflib.unified_diff(old, new, f"{name} as it is", f"{name} as generated", n=0, lineterm="")
    return lines


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="change nothing; exit 1 when something would change")
    check = arguments.parse_args().check
    wanted = generate()
    where = TARGET.relative_to(ROOT)
    if not check:
        write(wanted)
        print(f"{where}: {len(wanted)} files generated")
        return 0
    if stale := differences(wanted, read(TARGET)):
        print(*stale[:40], f"{where} is not what protos/ generates: run `make pb`", sep="\n", file=sys.stderr)
        return 1
    print(f"{where} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
