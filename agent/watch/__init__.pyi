# Public names, each imported on first use.
from .file_types import (
    EXTENSIONS as EXTENSIONS,
    Kind as Kind,
    classify_name as classify_name,
    locate as locate,
    to_text as to_text,
)
from .fs_events import EventListener as EventListener
from .listed_file import (
    Facts as Facts,
    ListedFile as ListedFile,
)
from .listing import (
    find_facts as find_facts,
    is_below_link as is_below_link,
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
from .stability import StabilityTracker as StabilityTracker
