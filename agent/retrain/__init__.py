"""Learn from what people said: labelled crops become a candidate, and a gate says why or why not.

`cases` gathers what there is to learn from, `teaching` teaches a candidate, `judging` holds it
against the bundle at work, `again` judges old micrographs with another bundle, `bundles` finds them
by name.
Nothing here promotes: teaching and judging a candidate change nothing that is at work.
"""

from agent.retrain.again import Again, reprocess
from agent.retrain.bundles import bundle_named, bundles_in, every_bundle
from agent.retrain.cases import Collected, collect
from agent.retrain.judging import Demands, Gate, Outcome, held_against, kept
from agent.retrain.progress import Step
from agent.retrain.teaching import plan_of, retrain

__all__ = [
    "Again",
    "Collected",
    "Demands",
    "Gate",
    "Outcome",
    "Step",
    "bundle_named",
    "bundles_in",
    "collect",
    "every_bundle",
    "held_against",
    "kept",
    "plan_of",
    "reprocess",
    "retrain",
]
