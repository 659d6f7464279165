"""A distribution from outside, as an installer leaves it."""

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType


def installed(folder: Path, module: ModuleType, group: str, entry_point: str) -> str:
    """PYTHONPATH with a distribution in *folder* that holds *module*, with an *entry_point* in *group*."""
    place = folder / "installed"
    about = place / "outside-1.0.dist-info"
    about.mkdir(parents=True)
    path = Path(str(module.__file__))
    shutil.copy(path, place / path.name)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{entry_point}\n")
    return os.pathsep.join((str(place), *sys.path))
