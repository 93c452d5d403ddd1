"""The archive in an S3-compatible object storage, with the local disk as its cache."""

from agent.objects.background_reads import BeingFetched, waiting_at_most
from agent.objects.bucket import Access, Bucket, DamagedObject, ObjectFacts, ObjectsUnavailable
from agent.objects.mirror import ObjectMirror, RoundOutcome, open_mirror
from agent.objects.mirrored_files import FOLDERS
from agent.objects.pruned_files import LONG_AGO, SHOWN_STILL, PruneRecords
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
