"""What this machine can do: the subjects that `smalti doctor` looks at, in the order of its lines."""

from smalti.doctor import disk, free, loading, models, products, repeating, threads, together
from smalti.doctor.protocol import Subject

SUBJECTS: dict[str, Subject] = {
    "precision": products.look,
    "determinism": repeating.look,
    "threads": threads.look,
    "memory": free.look,
    "disk": disk.look,
    "loading": loading.look,
    "processes": together.look,
    "round trip": models.look,
}

__all__ = ["SUBJECTS"]
