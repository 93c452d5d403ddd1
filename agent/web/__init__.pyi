# Public names, each imported on first use.
from .access import (
    is_this_pc_alone as is_this_pc_alone,
    refuse_strangers as refuse_strangers,
)
from .app import (
    create_app as create_app,
    app_of as app_of,
)
from .context import WebContext as WebContext
from .archive.uploads import Inbox as Inbox
