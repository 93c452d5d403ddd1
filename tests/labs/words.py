"""The English words on a page that no catalogue has."""

from __future__ import annotations

from html.parser import HTMLParser

ENGLISH = {"the", "of", "and", "is", "are", "with", "from", "this", "that", "which", "what", "by"}


class Words(HTMLParser):
    """What of a page is read: text, and what stands for pictures and fields."""

    READ = ("alt", "title", "aria-label", "placeholder")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._skipped = 0
        self.lang = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in self.READ and value]
        self.lang = dict(attrs)["lang"] if tag == "html" else self.lang
        self._skipped += tag in ("kbd", "code", "script", "style")

    def handle_endtag(self, tag):
        self._skipped -= tag in ("kbd", "code", "script", "style")

    def handle_data(self, data):
        if not self._skipped and data.strip():
            self.found.append(data.strip())


def english_in(page: str) -> list[str]:
    return [
        one
        for one in Words(page).found
        if ENGLISH & {word.strip(".,:;") for word in one.lower().split()}
    ]
