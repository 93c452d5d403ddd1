"""Render pages as HTML with the one Jinja environment, which escapes everything.

A report is one file that loads nothing from the network: style and script are inside, and its
content policy enforces it. The review pages load the same style from their server.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from reports import charts
from reports.i18n import account, day_and_time, decimal, gettext, language, ngettext, percent
from reports.vocabulary import file_code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from reports.content.api_docs import ApiDocsPage
    from reports.content.archive import ArchivePage, HistoryPage
    from reports.content.dashboard import DashboardPage, FilesPage
    from reports.content.fleet import FleetPage
    from reports.content.guide import HelpPage
    from reports.content.learning import BundlePage, LearningPage
    from reports.content.login import LoginPage, MessagePage, NamePage
    from reports.content.models import Experiments, ImpactPage, ModelCard, ModelsPage
    from reports.content.needle_truth import NeedleTruthPage
    from reports.content.night import Index, MorePage, Night, SitesPage
    from reports.content.order_desk import OrderConfirmPage, OrderDeskPage
    from reports.content.orders import OrderPage, PlacesPage, TracePage
    from reports.content.period import PeriodPage
    from reports.content.proposal import ProposalPage
    from reports.content.review import QueuePage, ReviewPage
    from reports.content.review_scale import ScalePage
    from reports.content.round_robin import (
        CampaignsPage,
        PlanSheet,
        RatingEnd,
        RatingPage,
        StudyReport,
    )
    from reports.content.setup import TaxonomyPage
    from reports.content.similar import MapPage, SimilarPage
    from reports.content.statements import StatementPage
    from reports.content.viewer import ChartPage, ViewerPage

ASSETS = (
    "base.css",
    "report.css",
    "report.js",
    "review.css",
    "review.js",
    "order.css",
    "order.js",
    "desk.css",
    "desk.js",
    "dashboard.css",
    "dashboard.js",
    "progress.js",
    "learning.css",
    "confirm.js",
    "trace.css",
    "look.css",
    "statement.css",
    "customer.css",
    "rate.css",
    "help.css",
    "setup.css",
    "rate.js",
    "viewer.css",
    "viewer_pane.js",
    "viewer_gestures.js",
    "viewer_bar.js",
    "viewer_light.js",
    "viewer_needles.js",
    "viewer_measure.js",
    "viewer_overlays.js",
    "viewer_compare.js",
    "viewer_keys.js",
    "viewer.js",
    "viewer_dialog.js",
    "search.js",
    "archive.css",
    "archive.js",
    "similar.css",
    "map.css",
    "map.js",
    "scale.css",
    "scale.js",
    "viewing.js",
    "keys.js",
    "saving.js",
    "onward.js",
    "icon.svg",
)
"""Everything a page may ask its server for."""


def render_night(night: Night) -> str:
    """Render one night's report as a self-contained page."""
    drawn = {
        "codes_chart": charts.codes_chart(night.codes),
        "hours_chart": charts.hours_chart(night.hours),
        "trend_charts": {trend.title: charts.trend_chart(trend) for trend in night.trends},
        "control_charts": {trend.title: charts.control_chart(trend) for trend in night.control},
        "furnace_charts": {trend.title: charts.control_chart(trend) for trend in night.furnaces},
        "strangeness_chart": charts.strangeness_chart(night.p_values, night.alpha),
    }
    return _render("night.html", page=night, policy=report_policy(), **_inside(), **drawn)


def render_more(page: MorePage) -> str:
    """Render an overflow page of a night."""
    return _render("more.html", page=page, policy=report_policy(), **_inside())


def render_index(index: Index) -> str:
    """Render the list of all nights."""
    return _render("index.html", page=index, policy=report_policy(), **_inside())


def render_period(page: PeriodPage) -> str:
    """Render the report of a week or a month."""
    return _render("period.html", page=page, policy=report_policy(), **_inside())


def render_sites(page: SitesPage) -> str:
    """Render what needs action at every site that shares a database."""
    return _render("sites.html", page=page, policy=report_policy(), **_inside())


def render_experiments(page: Experiments) -> str:
    """Render the repeated experiments of the paper; its charts are SVG from `figures`."""
    return _render("experiments.html", page=page, policy=report_policy(), **_inside())


def render_impact(page: ImpactPage) -> str:
    """Render what would change under another bundle, as a self-contained page."""
    return _render("impact.html", page=page, policy=report_policy(), **_inside())


def render_card(page: ModelCard) -> str:
    """Render a model card as a self-contained page."""
    return _render("card.html", page=page, policy=report_policy(), **_inside())


def render_models(page: ModelsPage) -> str:
    """Render the page of the bundles and of the jobs on them."""
    return _render("models.html", page=page)


def render_dashboard(page: DashboardPage) -> str:
    """Render the dashboard."""
    return _render("dashboard.html", page=page)


def render_today(page: DashboardPage) -> str:
    """Render the numbers of the dashboard alone, for a page that is open already."""
    return _render("_today.html", page=page)


def render_files(page: FilesPage) -> str:
    """Render the list of files that need an operator."""
    return _render("files.html", page=page)


def render_fleet(page: FleetPage) -> str:
    """Render the list of PCs that run an agent."""
    return _render("fleet.html", page=page)


def render_learning(page: LearningPage) -> str:
    """Render what a retraining would use, and what to label next."""
    return _render("learning.html", page=page)


def render_bundle(page: BundlePage) -> str:
    """Render one bundle with the verdict of its gate."""
    return _render("bundle.html", page=page)


def render_queue(page: QueuePage) -> str:
    """Render the review queue."""
    return _render("queue.html", page=page)


def render_review(page: ReviewPage) -> str:
    """Render the page on which one micrograph is decided."""
    return _render("review.html", page=page)


def render_proposal(page: ProposalPage) -> str:
    """Render the page on which a reviewer proposes a class."""
    return _render("proposal.html", page=page)


def render_scale(page: ScalePage) -> str:
    """Render the page on which a reviewer gives the scale of a micrograph."""
    return _render("scale.html", page=page)


def render_places(page: PlacesPage) -> str:
    """Render two micrographs that show one place."""
    return _render("places.html", page=page)


def render_order(page: OrderPage) -> str:
    """Render the page of one order."""
    return _render("order.html", page=page)


def render_archive(page: ArchivePage) -> str:
    """Render the micrographs that match a search."""
    return _render("archive.html", page=page)


def render_map(page: MapPage) -> str:
    """Render the map of all micrographs."""
    return _render("map.html", page=page)


def render_similar(page: SimilarPage) -> str:
    """Render the micrographs that look most like one."""
    return _render("similar.html", page=page)


def render_history(page: HistoryPage) -> str:
    """Render acts of the audit log."""
    return _render("history.html", page=page)


def render_order_desk(page: OrderDeskPage) -> str:
    """Render the order desk."""
    return _render("order_desk.html", page=page)


def render_order_confirm(page: OrderConfirmPage) -> str:
    """Render the page where the fields of one order are confirmed."""
    return _render("order_confirm.html", page=page)


def render_trace(page: TracePage) -> str:
    """Render the evidence of an order for print, as a self-contained page."""
    inside = _inside()
    style = inside["style"] + Markup(_text("trace.css"))  # noqa: S704 - our own file
    return _render("trace.html", page=page, policy=report_policy(), **inside | {"style": style})


def render_look(page: Mapping[str, object]) -> str:
    """Render what a folder of micrographs is like, as a self-contained page."""
    inside = _inside()
    style = inside["style"] + Markup(_text("look.css"))  # noqa: S704 - our own file
    inside |= {"style": style}
    return _render("look.html", page=page, uri=_jpeg_uri, policy=report_policy(), **inside)


def render_statement(page: StatementPage) -> str:
    """Render a statement for screen and paper, as a self-contained page."""
    inside = _inside()
    style = inside["style"] + Markup(_text("statement.css"))  # noqa: S704 - our own file
    inside |= {"style": style}
    return _render("statement.html", page=page, uri=_jpeg_uri, policy=report_policy(), **inside)


def _jpeg_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def render_rating(page: RatingPage) -> str:
    """Render the page on which one micrograph of a round robin is rated."""
    return _render("rate.html", page=page)


def render_rating_end(page: RatingEnd) -> str:
    """Render the page of a rater who has nothing to rate."""
    return _render("rated.html", page=page)


def render_study(page: StudyReport) -> str:
    """Render the report of a round robin, as a self-contained page."""
    figure = charts.ratings_chart(page.images, page.codes, page.raters)
    return _render("study.html", page=page, policy=report_policy(), figure5=figure, **_inside())


def render_plan(page: PlanSheet) -> str:
    """Render a plan of runs for print, as a self-contained page."""
    return _render("plan.html", page=page, policy=report_policy(), **_inside())


def render_campaigns(page: CampaignsPage) -> str:
    """Render the list of all round robins."""
    return _render("campaigns.html", page=page)


def render_chart(page: ChartPage) -> str:
    """Render the wall of the lab's chart plates."""
    return _render("chart.html", page=page)


def render_api_docs(page: ApiDocsPage) -> str:
    """Render the description of the API."""
    return _render("api_docs.html", page=page)


def render_viewer(page: ViewerPage) -> str:
    """Render the viewer of one micrograph, without a decision."""
    return _render("viewer.html", page=page)


def render_needle_truth(page: NeedleTruthPage) -> str:
    """Render needle lengths of the program against those of people."""
    return _render("needles.html", page=page)


def render_name(page: NamePage) -> str:
    """Render the page that asks for the reviewer's name."""
    return _render("name.html", page=page)


def render_login(page: LoginPage) -> str:
    """Render the page that asks for name and password."""
    return _render("login.html", page=page)


def render_message(page: MessagePage) -> str:
    """Render a page with one message."""
    return _render("message.html", page=page)


def render_account(page: Mapping[str, object]) -> str:
    """Render the page of the account that is logged in."""
    return _render("account.html", page=page)


def render_setup(page: Mapping[str, object]) -> str:
    """Render the first steps of a lab."""
    return _render("setup.html", page=page)


def render_taxonomy(page: TaxonomyPage) -> str:
    """Render the page of the lab's classes."""
    return _render("taxonomy.html", page=page)


def render_help(page: HelpPage) -> str:
    """Render a page of the user guide, its contents or a search."""
    return _render("help.html", page=page)


def asset(name: str) -> bytes:
    """Return a style sheet, script or icon by its name.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in ASSETS:
        raise KeyError(name)
    return files("reports").joinpath("assets", name).read_bytes()


def as_json(value: object) -> Markup:
    """Return JSON that is safe between the tags of a page: nothing in it can end its element."""
    return htmlsafe_json_dumps(value, separators=(",", ":"))


@cache
def report_policy() -> str:
    """Return the content policy of a report: no address at all, the one script by its hash."""
    digest = base64.b64encode(hashlib.sha256(_text("report.js").encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@cache
def assets_version() -> str:
    """Return the version of style and script, by which a browser may cache them forever."""
    return hashlib.sha256(b"".join(asset(name) for name in ASSETS)).hexdigest()[:12]


def _inside() -> dict[str, Markup]:
    style = _text("base.css") + _text("report.css")
    return {"style": Markup(style), "script": Markup(_text("report.js"))}  # noqa: S704 - our own files


def _text(name: str) -> str:
    return asset(name).decode("utf-8")


def _render(template: str, **facts: object) -> str:
    return _environment().get_template(template).render(**facts) + "\n"


def _format_local(instant: datetime, zone: str) -> str:
    """Format an instant in a time zone, such as "24 Nov 02:14"."""
    return day_and_time(instant.astimezone(ZoneInfo(zone)))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined] # the extension's
    environment.globals["version"] = assets_version()
    environment.globals["language"] = language
    environment.globals["account"] = account
    environment.globals["decimal"] = decimal
    environment.globals["percent"] = percent
    environment.globals["as_json"] = as_json
    environment.filters["local"] = _format_local
    environment.filters["file_code"] = file_code
    return environment
