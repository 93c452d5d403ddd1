# Public names, each imported on first use.
from .fs_events import EventListener as EventListener
from .listing import (
    Facts as Facts,
    Kind as Kind,
    ListedFile as ListedFile,
    classify_name as classify_name,
    find_facts as find_facts,
    is_below_link as is_below_link,
    locate as locate,
    to_text as to_text,
)
from .path_metadata import (
    Calibration as Calibration,
    Provenance as Provenance,
)
from .source_watcher import (
    SourceState as SourceState,
    SourceWatcher as SourceWatcher,
    WatchResult as WatchResult,
)
from .write_completion import StabilityTracker as StabilityTracker
