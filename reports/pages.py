"""Everything that makes up a page; `reports` imports it when the first of these names is used."""

from __future__ import annotations

from reports.content.components import (
    DocumentSection,
    Fact,
    Figure,
    Link,
    Picture,
    SignForm,
    StatementPicture,
    Table,
    Tone,
)
from reports.content.guide import GuideHeading, GuideHit, GuidePage, GuidePiece, GuideTitle
from reports.content.micrograph import (
    Answer,
    Card,
    Cause,
    Share,
)
from reports.content.needles import (
    FieldNeedles,
    LongNeedlePicture,
    NeedleBar,
    NeedlePlot,
    NeedleTable,
)
from reports.content.night import (
    ControlTrend,
    Night,
    OpenOrderLine,
    VerdictLine,
)
from reports.content.review import (
    Choice,
    SubtypeChoice,
    number_keys,
    size_keys,
)
from reports.content.statements import Letterhead, StatementPage
from reports.content.viewer import (
    Layer,
    Ruler,
    Viewer,
)
from reports.customer import CUSTOMER_TEMPLATE, TemplateFault, render_customer
from reports.environment import (
    ASSETS,
    as_json,
    asset,
    assets_version,
    render,
    report_policy,
)
from reports.live_charts import counts_chart, learning_curve_chart, share_chart, shares_chart
from reports.needle_agreement_chart import agreement_chart
from reports.needle_charts import needle_fields_chart, needle_lengths_chart
from reports.training_figures import confusion_svg, curves_svg
from reports.user_guide import (
    GUIDE_PAGES,
    GUIDE_PICTURES,
    LONGEST_QUERY,
    get_guide_page,
    list_guide,
    read_guide,
    read_guide_picture,
    search_guide,
)

__all__ = [
    "ASSETS",
    "CUSTOMER_TEMPLATE",
    "GUIDE_PAGES",
    "GUIDE_PICTURES",
    "LONGEST_QUERY",
    "Answer",
    "Card",
    "Cause",
    "Choice",
    "ControlTrend",
    "DocumentSection",
    "Fact",
    "FieldNeedles",
    "Figure",
    "GuideHeading",
    "GuideHit",
    "GuidePage",
    "GuidePiece",
    "GuideTitle",
    "Layer",
    "Letterhead",
    "Link",
    "LongNeedlePicture",
    "NeedleBar",
    "NeedlePlot",
    "NeedleTable",
    "Night",
    "OpenOrderLine",
    "Picture",
    "Ruler",
    "Share",
    "SignForm",
    "StatementPage",
    "StatementPicture",
    "SubtypeChoice",
    "Table",
    "TemplateFault",
    "Tone",
    "VerdictLine",
    "Viewer",
    "agreement_chart",
    "as_json",
    "asset",
    "assets_version",
    "confusion_svg",
    "counts_chart",
    "curves_svg",
    "get_guide_page",
    "learning_curve_chart",
    "list_guide",
    "needle_fields_chart",
    "needle_lengths_chart",
    "number_keys",
    "read_guide",
    "read_guide_picture",
    "render",
    "render_customer",
    "report_policy",
    "search_guide",
    "share_chart",
    "shares_chart",
    "size_keys",
]
