"""The archive in an S3-compatible object storage, with the local disk as its cache."""

from agent.objects.bucket import (
    Access,
    Bucket,
    DamagedObjectError,
    ObjectFacts,
    ObjectsUnavailableError,
)
from agent.objects.mirror import (
    LONG_AGO,
    SHOWN_STILL,
    ObjectMirror,
    PruneRecords,
    RoundOutcome,
    open_mirror,
)
from agent.objects.mirrored_files import FOLDERS, BeingFetchedError, waiting_at_most
from agent.objects.upload_index import Uploaded, UploadIndex

__all__ = [
    "FOLDERS",
    "LONG_AGO",
    "SHOWN_STILL",
    "Access",
    "BeingFetchedError",
    "Bucket",
    "DamagedObjectError",
    "ObjectFacts",
    "ObjectMirror",
    "ObjectsUnavailableError",
    "PruneRecords",
    "RoundOutcome",
    "UploadIndex",
    "Uploaded",
    "open_mirror",
    "waiting_at_most",
]
