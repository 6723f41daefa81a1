"""What this machine can do: the subjects that `smalti doctor` looks at, in the order of its lines."""

from smalti.doctor.disk import disk_speed
from smalti.doctor.free import free_memory
from smalti.doctor.loading import image_loading
from smalti.doctor.models import round_trip
from smalti.doctor.products import number_types
from smalti.doctor.protocol import Subject
from smalti.doctor.repeating import equal_bits
from smalti.doctor.threads import thread_gain
from smalti.doctor.together import processes

SUBJECTS: dict[str, Subject] = {
    "precision": number_types,
    "determinism": equal_bits,
    "threads": thread_gain,
    "memory": free_memory,
    "disk": disk_speed,
    "loading": image_loading,
    "processes": processes,
    "round trip": round_trip,
}

__all__ = ["SUBJECTS"]
