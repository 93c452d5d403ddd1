"""The archive in an S3-compatible object storage, with the local disk as its cache."""

from agent.objects.bucket import Bucket, DamagedObjectError, ObjectsUnavailableError
from agent.objects.mirror import LONG_AGO, SHOWN_STILL, ObjectMirror, PruneRecords, open_mirror
from agent.objects.mirrored_files import BeingFetchedError, waiting_at_most
from agent.objects.upload_index import Uploaded

__all__ = [
    "LONG_AGO",
    "SHOWN_STILL",
    "BeingFetchedError",
    "Bucket",
    "DamagedObjectError",
    "ObjectMirror",
    "ObjectsUnavailableError",
    "PruneRecords",
    "Uploaded",
    "open_mirror",
    "waiting_at_most",
]
