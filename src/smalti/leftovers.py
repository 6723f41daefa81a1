"""What a process that was killed while it wrote leaves behind: a name that ends in the process's number."""

import os
import re
import shutil
import sys
from pathlib import Path


def clear(folder: Path, pattern: str) -> None:
    """Delete the files and folders in a folder whose process is no more, or is this one, by a glob pattern.

    Call it while this process writes nothing there. What another running process writes stays.
    """
    for path in list(folder.glob(pattern)):
        if not is_anothers(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_anothers(path: Path) -> bool:
    """Return whether a process other than this one still writes what has this name, or may do so."""
    number = re.search(r"\d+$", path.name)
    if number is None:
        return True
    process = int(number.group())
    if process == os.getpid():
        return False
    if sys.platform == "win32":  # where to ask is to end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
