"""Martensight's agent: everything that touches the lab, the clock, the disk and the network.

The flow, one way, and the room of each step:

    watch        folders         → ListedFile   which files are complete
    imaging      ListedFile      → Crop         pixels, scale, and steel alone
    (model)      Field           → Prediction   structure code, saliency, strangeness
    triage       Prediction      → Verdict      automatic, or review, with reasons
    archive      pixels at rest, by content hash, before the row that names them
    store        rows, and every question to the database
    pipeline     the story of one file, from ListedFile to `done`
    orders       specimens and orders against their specification
    night        a night's rows  → one HTML page (reports)
    web          the page where metallographers review what is doubted
    retrain      what they said  → a candidate bundle, and numbers for whoever promotes it
    roundrobin   what many said  → how far people, model and microscopes agree

`cli` and `service` stand on top; `settings`, `log` and `errors` at the bottom.
"""
