# Public names, each imported on first use.
from .composition import (
    open_store as open_store,
)
from .daemon import Agent as Agent
from .single_run import (
    RunOutcome as RunOutcome,
    run_once as run_once,
)
from .health.status import build_status as build_status
from .page_process import Pages as Pages
