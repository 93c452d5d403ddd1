"""The archive in an S3-compatible object storage, with the local disk as its cache."""

from agent.objects.bucket import Access, Bucket, DamagedObject, ObjectFacts, ObjectsUnavailable
from agent.objects.mirror import (
    LONG_AGO,
    SHOWN_STILL,
    ObjectMirror,
    PruneRecords,
    RoundOutcome,
    open_mirror,
)
from agent.objects.mirrored_files import FOLDERS, BeingFetched, waiting_at_most
from agent.objects.upload_index import Uploaded, UploadIndex

__all__ = [
    "FOLDERS",
    "LONG_AGO",
    "SHOWN_STILL",
    "Access",
    "BeingFetched",
    "Bucket",
    "DamagedObject",
    "ObjectFacts",
    "ObjectMirror",
    "ObjectsUnavailable",
    "PruneRecords",
    "RoundOutcome",
    "UploadIndex",
    "Uploaded",
    "open_mirror",
    "waiting_at_most",
]
